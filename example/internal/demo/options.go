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

// options is what the command line said.
type options struct {
	headless bool
	full     bool

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

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

const usage = `Three fleets of one service under the same unmodified clients, side by side: with
evenkeel, with MaxConnectionAge alone, with nothing. Each grows from 2 pods to 5,
and a table says how long it took until the calls were even and what it cost.
Takes about 90 seconds, -full about four minutes. Real processes, loopback
addresses only (127.0.1.N, 127.0.2.N, 127.0.3.N), everything is cleaned up.

  demo              live view in the terminal, and a page for the browser
  demo -headless    lines instead; also when the output is no terminal
  demo -full        then 5 to 2, 2 to 5 again, and one pod killed
  demo -dns-lag 8s  DNS answers 8 s behind: nothing may move before
  demo -dns-never   DNS never learns of the new pods: nothing may move at all

Exit status: 0 all promises held, 1 one broke or the demo could not run, 2 a wrong
flag, 130 interrupted.

`

// parse returns flag.ErrHelp after -h, else every wrong flag joined.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&o.headless, "headless", false, "print lines instead of a live view")
	fs.BoolVar(&o.full, "full", false, "also shrink, grow again and kill a pod")
	fs.IntVar(&o.clients, "clients", 4, "client processes for each fleet, each with an address, that is a key, of its own")
	fs.IntVar(&o.channels, "channels", 5, "channels of each client process")
	fs.Float64Var(&o.rate, "rate", 400, "calls a second on each fleet")
	fs.BoolVar(&o.oneKey, "one-key", false, "all client processes from one address, as behind a NAT")
	fs.DurationVar(&o.dnsLag, "dns-lag", 0, "the clients' DNS is this far behind")
	fs.BoolVar(&o.dnsNever, "dns-never", false, "the clients' DNS never answers with new pods")
	fs.DurationVar(&o.dnsTTL, "dns-ttl", 5*time.Second, "TTL of DNS answers, in whole seconds")
	fs.DurationVar(&o.maxAge, "max-age", 30*time.Second, "MaxConnectionAge of the second fleet")
	fs.DurationVar(&o.watch, "watch", 40*time.Second, "after a growth, how long to wait for the slowest fleet")
	fs.DurationVar(&o.rest, "rest", 10*time.Second, "after a growth, how long the fleet with evenkeel must be seen at rest")
	fs.StringVar(&o.page, "page", "127.0.0.1:8090", "serve the page on this `address`, or the next free port; empty: no page")
	fs.Var((*list)(&o.set), "set", "a setting of the servers with evenkeel, as `key=value`; repeatable")
	fs.StringVar(&o.only, "only", "", "run these fleets alone, of `evenkeel,age,nothing`; empty: all")
	fs.StringVar(&o.logs, "server-log", "", "show the logs of the fleet with evenkeel from this `level` on: debug, info, warn, error; empty: none")
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

// Limits of what one machine and the address plan of column.go can carry.
const (
	maxClients  = 40
	maxChannels = 1000
	maxRate     = 20_000
)

// check joins everything that is wrong with the flags.
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
	wrong(o.dnsLag < 0, "-dns-lag %v: below 0", o.dnsLag)
	wrong(o.dnsLag > 0 && o.dnsNever, "-dns-lag and -dns-never: give one of them")
	wrong(o.dnsNever && o.full, "-dns-never and -full: give one of them")
	wrong(o.dnsTTL < 0 || o.dnsTTL%time.Second != 0, "-dns-ttl %v: want whole seconds", o.dnsTTL)
	wrong(o.maxAge < time.Second, "-max-age %v: want at least 1s", o.maxAge)
	wrong(o.watch < 0, "-watch %v: below 0", o.watch)
	wrong(o.rest < 0, "-rest %v: below 0", o.rest)
	if o.page != "" {
		_, err := net.ResolveTCPAddr("tcp", o.page)
		wrong(err != nil, "-page %q: want host:port", o.page)
	}
	for _, id := range o.fleets() {
		_, known := nets[id]
		wrong(!known, "-only %q: want some of evenkeel,age,nothing", id)
	}
	return errors.Join(errs...)
}

// The fleets, as -only names them.
const (
	withEvenkeel = "evenkeel"
	withAge      = "age"
	withNothing  = "nothing"
)

// nets is the network of each fleet: 127.0.N.0/24.
var nets = map[string]int{withEvenkeel: 1, withAge: 2, withNothing: 3}

func (o *options) fleets() []string {
	if o.only == "" {
		return []string{withEvenkeel, withAge, withNothing}
	}
	return strings.Split(o.only, ",")
}
