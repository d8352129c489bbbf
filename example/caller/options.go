package caller

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// options holds the flags.
type options struct {
	target   string
	lb       string
	http     bool
	h2c      bool
	rate     float64
	channels int
	duration time.Duration
	json     bool
	every    time.Duration

	method       string
	timeout      time.Duration
	waitForReady bool
	source       string
	sourceEach   bool
	tlsCA        string
	fail         bool
}

const usage = `An ordinary grpc-go client of the hello service. Nothing of evenkeel is in it.

  client -target dns:///hello.test:50051 -channels 5 -rate 100 -duration 60s

It makes calls at a steady rate, on each of its channels in rotation, without
waiting for answers, and counts the answers of each pod. SIGTERM or SIGINT ends
it early.

Exit status: 0 finished, 1 an RPC failed and -fail was given, 2 invalid flags.

`

// parse returns flag.ErrHelp after -h, and otherwise one error that joins those of
// all flags.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.target, "target", "", "gRPC `target`, such as dns:///hello.test:50051 (required)")
	fs.StringVar(&o.lb, "lb", "round_robin", "load balancing `policy`: round_robin or pick_first")
	fs.BoolVar(&o.http, "over-http", false, "call a gateway at -target (host:port) by HTTP/1.1 with JSON, over one connection per channel")
	fs.BoolVar(&o.h2c, "h2c", false, "with -over-http: speak HTTP/2 without TLS instead")
	fs.Float64Var(&o.rate, "rate", 100, "calls per second over all channels; with -method chat, messages per second")
	fs.IntVar(&o.channels, "channels", 1, "number of channels (ClientConns)")
	fs.DurationVar(&o.duration, "duration", 60*time.Second, "how long to run; 0: until a signal")
	fs.BoolVar(&o.json, "json", false, "print a JSON object for each interval, and the total at the end")
	fs.DurationVar(&o.every, "every", time.Second, "interval of the reports with -json")
	fs.StringVar(&o.method, "method", methodHi, "hi (unary), watch (one stream per channel, from the server) or chat (one stream per channel, in both directions)")
	fs.DurationVar(&o.timeout, "timeout", 10*time.Second, "deadline of each call with -method hi; 0: none")
	fs.BoolVar(&o.waitForReady, "wait-for-ready", false, "make calls wait for a connection instead of failing")
	fs.StringVar(&o.source, "source", "", "connect from this `IP` address; empty: the system chooses")
	fs.BoolVar(&o.sourceEach, "source-each", false, "connect from one address after the other, beginning with -source: one for each channel")
	fs.StringVar(&o.tlsCA, "tls-ca", "", "PEM `file` with the CAs of the servers' certificates; empty: plaintext")
	fs.BoolVar(&o.fail, "fail", false, "exit with status 1 if any RPC failed")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			fs.SetOutput(out)
			fs.PrintDefaults()
		}
		return o, err
	}
	return o, o.check(fs.Args())
}

// Values of -method.
const (
	methodHi    = "hi"
	methodWatch = "watch"
	methodChat  = "chat"
)

// Limits that keep a mistyped number from taking the machine down.
const (
	maxRate     = 100_000
	maxChannels = 10_000
	minEvery    = 10 * time.Millisecond
)

// check returns one error that joins those of all flags.
func (o *options) check(rest []string) error {
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(len(rest) > 0, "unexpected argument %q", strings.Join(rest, " "))
	wrong(o.target == "", "-target is required")
	wrong(o.lb != "round_robin" && o.lb != "pick_first", "-lb %q: want round_robin or pick_first", o.lb)
	wrong(!(o.rate > 0 && o.rate <= maxRate), "-rate %v: want more than 0 and at most %d", o.rate, maxRate)
	wrong(o.channels < 1 || o.channels > maxChannels, "-channels %d: want 1 to %d", o.channels, maxChannels)
	wrong(o.duration < 0, "-duration %v: must not be negative", o.duration)
	wrong(o.timeout < 0, "-timeout %v: must not be negative", o.timeout)
	wrong(o.every < minEvery, "-every %v: want at least %v", o.every, minEvery)
	wrong(o.http && o.method != methodHi, "-over-http and -method %s exclude each other", o.method)
	wrong(o.http && o.tlsCA != "", "-over-http and -tls-ca exclude each other")
	wrong(o.h2c && !o.http, "-h2c needs -over-http")
	wrong(!slices.Contains([]string{methodHi, methodWatch, methodChat}, o.method), "-method %q: want hi, watch or chat", o.method)
	wrong(o.source != "" && net.ParseIP(o.source) == nil, "-source %q: want an IP address", o.source)
	wrong(o.sourceEach && net.ParseIP(o.source) == nil, "-source-each needs -source")
	return errors.Join(errs...)
}

// dialer returns the dialer of a channel.
func (o *options) dialer(channel int) *net.Dialer {
	if o.source == "" {
		return &net.Dialer{}
	}
	ip := net.ParseIP(o.source)
	if o.sourceEach {
		ip[len(ip)-1] += byte(channel)
	}
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}}
}
