package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conf"
	"github.com/evenkeel-go/evenkeel/internal/lookup"
)

// year is longer than any process lives, and too short for an addition to a time to
// overflow.
const year = 365 * 24 * time.Hour

// rule is the rule for one key.
type rule struct {
	key   string
	limit limit
	live  bool // a changed value takes effect without a restart
}

// limit is the set of values that a key may have. Its text is the range column of
// docs/settings.md, and part of the error message.
type limit interface {
	fmt.Stringer
	// wrong explains what is wrong with a value. It is empty if nothing is.
	wrong(value any) string
}

// rules has the rule of each key, in the order of the struct. Rules for pairs of keys are in
// checkTogether.
//
// Live keys are those that the Balancer reads each time it decides. The others are read
// once. grpc.NewServer copies keepalive and idle time. The source of peers and the DNS gate
// are built once, since they are worth only what they have seen over time. The time to stop
// must fit the grace period with which the pod was started. A connection is noted for
// policy.closeAtExpiry when it is accepted, and those before a change would be missed.
var rules = []rule{
	{"policy.maxConnectionAge", within(time.Second, year).orZero(), true},
	{"policy.maxConnectionAgeGrace", within(time.Second, year).orZero(), true},
	{"policy.closeAtExpiry", boolean{}, false},
	{"policy.maxConnectionIdle", within(time.Second, year).orZero(), false},
	{"policy.keepaliveTime", within(time.Second, year).orZero(), false},
	{"policy.keepaliveTimeout", within(time.Second, time.Hour).orZero(), false},
	{"policy.minClientPing", within(100*time.Millisecond, 24*time.Hour).orZero(), false},
	{"policy.permitWithoutStream", boolean{}, false},
	{"rebalance.enabled", boolean{}, true},
	{"rebalance.dryRun", boolean{}, true},
	{"rebalance.weight", oneOf{WeightConnections, WeightRequests, WeightStreams}, true},
	{"rebalance.tolerance", between{0.01, 1}, true},
	{"rebalance.floor", between{0, 0.95}, true},
	{"rebalance.maxStreams", upTo(10_000_000), true},
	{"rebalance.spread", within(0, time.Minute), true},
	{"rebalance.maxPerSecond", between{0.1, 100_000}, true},
	{"rebalance.maxFractionPerMinute", between{0.01, 1}, true},
	{"rebalance.cooldown", within(time.Second, time.Hour), true},
	{"rebalance.settle", within(0, 5*time.Minute), true},
	{"rebalance.grace", within(time.Second, year).orZero(), true},
	{"rebalance.warmup", within(time.Second, time.Hour).orZero(), true},
	{"peers.source", oneOf{SourceNone, SourceStatic, SourceDNS, SourceKubernetes}, false},
	{"peers.static", addresses{}, false},
	{"peers.dns.name", dnsName{}, false},
	{"peers.dns.server", address{}, false},
	{"peers.dns.interval", within(100*time.Millisecond, 10*time.Second), false}, // a view is stale after 30 s
	{"peers.kubernetes.namespace", kubeName{}, false},
	{"peers.kubernetes.service", kubeName{}, false},
	{"peers.kubernetes.kubeconfig", file{}, false},
	{"peers.port", upTo(65535), false},
	{"peers.salt", text{256}, false},
	{"peers.tls.cert", file{}, false},
	{"peers.tls.key", file{}, false},
	{"peers.tls.ca", file{}, false},
	{"peers.tls.serverName", certName{}, false},
	{"clients.dns.name", dnsName{}, false},
	{"clients.dns.server", address{}, false},
	{"shutdown.timeout", within(time.Second, time.Hour), false},
	{"shutdown.minimum", within(0, 59*time.Minute), false}, // below the most of the timeout,
}

type durations struct {
	min, max time.Duration
	zero     bool
}

func within(least, most time.Duration) durations { return durations{min: least, max: most} }

// orZero allows 0 as well, which then means off or the default of grpc-go.
func (d durations) orZero() durations {
	d.zero = true
	return d
}

func (d durations) String() string {
	text := conf.Duration(d.min) + " to " + conf.Duration(d.max)
	if d.zero {
		return "0, or " + text
	}
	return text
}

func (d durations) wrong(value any) string {
	v := value.(time.Duration)
	return outside(conf.Duration(v), d, v < d.min && (v != 0 || !d.zero), v > d.max)
}

type between struct{ min, max float64 }

func (b between) String() string { return number(b.min) + " to " + number(b.max) }

// wrong tests whether v is inside the range: NaN fails that test, but not one for outside.
func (b between) wrong(value any) string {
	v := value.(float64)
	return outside(number(v), b, !(v >= b.min), v > b.max)
}

// upTo is a whole number of at least 0.
type upTo int

func (u upTo) String() string { return "0 to " + strconv.Itoa(int(u)) }

func (u upTo) wrong(value any) string {
	v := value.(int)
	return outside(strconv.Itoa(v), u, v < 0, v > int(u))
}

func outside(value string, l limit, low, high bool) string {
	switch {
	case low:
		return value + " is too low, allowed: " + l.String()
	case high:
		return value + " is too high, allowed: " + l.String()
	}
	return ""
}

type oneOf []string

func (o oneOf) String() string { return strings.Join(o, ", ") }

func (o oneOf) wrong(value any) string {
	if v := value.(string); !slices.Contains(o, v) {
		return fmt.Sprintf("%q is not one of %s", v, o)
	}
	return ""
}

type boolean struct{}

func (boolean) String() string   { return "true, false" }
func (boolean) wrong(any) string { return "" }

// dnsName is a name, or empty. People copy it from a gRPC target, with the scheme and the
// port.
type dnsName struct{}

func (dnsName) String() string { return "a DNS name" }

func (dnsName) wrong(value any) string {
	v := value.(string)
	if v == "" {
		return ""
	}
	if strings.Contains(v, "/") {
		return fmt.Sprintf("%q: write the name alone, without dns:/// and without a port", v)
	}
	_, port, err := lookup.SplitHostPort(v)
	if port != 0 {
		return fmt.Sprintf("%q: write the name without a port", v)
	}
	return because(v, err)
}

// certName is a name or an address that a certificate has, or empty.
type certName struct{ dnsName }

func (certName) String() string { return "a DNS name or an IP address" }

// address is "host", "host:port" or empty.
type address struct{}

func (address) String() string { return "host, host:port" }

func (address) wrong(value any) string {
	v := value.(string)
	if v == "" {
		return ""
	}
	_, _, err := lookup.SplitHostPort(v)
	return because(v, err)
}

type addresses struct{}

func (addresses) String() string { return "a list of host, host:port" }

func (addresses) wrong(value any) string {
	for i, one := range value.([]string) {
		if one == "" {
			return fmt.Sprintf("entry %d is empty", i+1)
		}
		if text := (address{}).wrong(one); text != "" {
			return fmt.Sprintf("entry %d: %s", i+1, text)
		}
	}
	if i, j, ok := lookup.SharedHost(value.([]string)); ok {
		list := value.([]string)
		return fmt.Sprintf("entries %d and %d: %s and %s are one address with two ports, but pods are told apart by their addresses: "+
			"give each pod an address of its own", i+1, j+1, list[i], list[j])
	}
	return ""
}

// kubeName is a name of a Service or a namespace (a label of RFC 1123), or empty.
type kubeName struct{}

func (kubeName) String() string { return "a Kubernetes name" }

func (kubeName) wrong(value any) string {
	v := value.(string)
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	if len(v) > 63 || strings.ContainsFunc(v, odd) || strings.HasPrefix(v, "-") || strings.HasSuffix(v, "-") {
		return fmt.Sprintf("%q is not a Kubernetes name, write at most 63 of a to z, 0 to 9 and -", v)
	}
	return ""
}

// file is the name of a file, or empty. Validate does not open the file, since it must give
// the same result everywhere.
type file struct{}

func (file) String() string { return "a file name" }

func (file) wrong(value any) string {
	if strings.ContainsRune(value.(string), 0) {
		return "contains a NUL byte"
	}
	return ""
}

// text is any text of at most max bytes. A longer one was probably put here by mistake.
type text struct{ max int }

func (l text) String() string { return fmt.Sprintf("a text of at most %d bytes", l.max) }

func (l text) wrong(value any) string {
	if n := len(value.(string)); n > l.max {
		return fmt.Sprintf("has %d bytes, allowed: %s", n, l)
	}
	return ""
}

func because(value string, err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%q: %v", value, err)
}

// number formats 100000 as a person would write it, not as 1e+05.
func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
