package demo

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// options holds the flags.
type options struct {
	headless bool
	full     bool
	via      string

	sidecarProgram string // set once it is built

	clients  int
	channels int
	rate     float64
	oneKey   bool

	dnsLag   time.Duration
	dnsNever bool
	dnsTTL   time.Duration

	maxAge time.Duration
	watch  time.Duration
	rest   time.Duration

	page string
	set  []string
	only string
	logs string
}

// list is a flag that can be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

const usage = `Runs three fleets of one service side by side, under the same unmodified clients:
with evenkeel, with MaxConnectionAge alone, and with nothing. Each grows from 2 to 5
pods. A table then shows how long it took until the calls were even, and the cost.

The demo takes about 90 seconds, or about four minutes with -full. It starts real
server and client processes, uses loopback addresses only (127.0.1.N, 127.0.2.N,
127.0.3.N), and ends all of its processes when it exits.

  demo              live view in the terminal, and a page for the browser
  demo -headless    plain lines, also if the output is not a terminal
  demo -full        afterwards 5 to 2 pods, 2 to 5 again, and one pod killed
  demo -via clusterip  clients with one connection each, to a random pod
  demo -via gateway    HTTP/JSON clients of the grpc-gateway in each pod
  demo -via sidecar    servers that know nothing of evenkeel, behind the sidecar
  demo -dns-lag 8s  DNS lists new pods 8 s late: nothing may be drained before
  demo -dns-never   DNS never lists the new pods: nothing may be drained at all

Exit status: 0 every promise held, 1 a promise broke or the demo failed,
2 invalid flags, 130 interrupted.

`

// parse returns flag.ErrHelp after -h, and otherwise one error that joins those of
// all flags.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&o.headless, "headless", false, "print plain lines instead of the live view")
	fs.BoolVar(&o.full, "full", false, "afterwards scale down, scale up again and kill a pod")
	fs.StringVar(&o.via, "via", viaHeadless, "the `way` from clients to pods: headless (round_robin to all pods), clusterip (pick_first, a random pod), gateway (HTTP/1.1 to the gateway in a random pod) or sidecar (as headless, to servers without evenkeel behind the sidecar, which the demo builds)")
	fs.IntVar(&o.clients, "clients", 4, "client processes per fleet, each with its own address and thus its own key")
	fs.IntVar(&o.channels, "channels", 5, "channels per client process")
	fs.Float64Var(&o.rate, "rate", 400, "calls per second on each fleet")
	fs.BoolVar(&o.oneKey, "one-key", false, "connect all client processes from one address, as behind a NAT")
	fs.DurationVar(&o.dnsLag, "dns-lag", 0, "delay after which the clients' DNS lists new pods")
	fs.BoolVar(&o.dnsNever, "dns-never", false, "the clients' DNS never lists new pods")
	fs.DurationVar(&o.dnsTTL, "dns-ttl", 5*time.Second, "TTL of DNS answers, in whole seconds")
	fs.DurationVar(&o.maxAge, "max-age", 30*time.Second, "MaxConnectionAge of the second fleet")
	fs.DurationVar(&o.watch, "watch", 40*time.Second, "how long to wait for calls to become even after a scale-up")
	fs.DurationVar(&o.rest, "rest", 10*time.Second, "how long to watch the fleet with evenkeel for needless GOAWAYs once its calls are even")
	fs.StringVar(&o.page, "page", "127.0.0.1:8090", "serve the page on this `address`, or on the next free port; empty: no page")
	fs.Var((*list)(&o.set), "set", "set this `key=value` on the servers with evenkeel; may be repeated")
	fs.StringVar(&o.only, "only", "", "run only these `fleets`, a list of evenkeel, age and nothing separated by commas; empty: all")
	fs.StringVar(&o.logs, "server-log", "", "show the servers' logs of the fleet with evenkeel from this `level` on: debug, info, warn or error; empty: none")
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

// Limits that one machine and the addresses of column.go can support.
const (
	maxClients  = 40
	maxChannels = 1000
	maxRate     = 20_000
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
	wrong(o.clients < 1 || o.clients > maxClients, "-clients %d: want 1 to %d", o.clients, maxClients)
	wrong(o.channels < 1 || o.channels > maxChannels, "-channels %d: want 1 to %d", o.channels, maxChannels)
	wrong(!(o.rate >= 1 && o.rate <= maxRate), "-rate %v: want 1 to %d", o.rate, maxRate)
	wrong(o.dnsLag < 0, "-dns-lag %v: must not be negative", o.dnsLag)
	wrong(o.dnsLag > 0 && o.dnsNever, "-dns-lag and -dns-never exclude each other")
	wrong(o.dnsNever && o.full, "-dns-never and -full exclude each other")
	wrong(o.dnsTTL < 0 || o.dnsTTL%time.Second != 0, "-dns-ttl %v: want whole seconds", o.dnsTTL)
	wrong(o.maxAge < time.Second, "-max-age %v: want at least 1s", o.maxAge)
	wrong(o.watch < 0, "-watch %v: must not be negative", o.watch)
	wrong(o.rest < 0, "-rest %v: must not be negative", o.rest)
	o.checkVia(wrong)
	if o.page != "" {
		_, err := net.ResolveTCPAddr("tcp", o.page)
		wrong(err != nil, "-page %q: want host:port", o.page)
	}
	for _, id := range o.fleets() {
		_, known := nets[id]
		wrong(!known, "-only %q: want evenkeel, age, nothing or a list of them", id)
	}
	return errors.Join(errs...)
}

// The fleets, as -only names them.
const (
	withEvenkeel = "evenkeel"
	withAge      = "age"
	withNothing  = "nothing"
)

// nets is the number N of each fleet's network, 127.0.N.0/24.
var nets = map[string]int{withEvenkeel: 1, withAge: 2, withNothing: 3}

func (o *options) fleets() []string {
	if o.only == "" {
		return []string{withEvenkeel, withAge, withNothing}
	}
	return strings.Split(o.only, ",")
}
