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

// options is what the command line said.
type options struct {
	target   string
	lb       string
	rate     float64
	channels int
	duration time.Duration
	json     bool
	every    time.Duration

	method       string
	timeout      time.Duration
	waitForReady bool
	source       string
	tlsCA        string
	fail         bool
}

const usage = `An ordinary grpc-go client of the hello service, with nothing of evenkeel in it.

  client -target dns:///hello.test:50051 -channels 5 -rate 100 -duration 60s

It calls at a steady rate, whether answers come or not, each channel in turn, and
counts answers by the pod that gave them. SIGTERM or SIGINT ends it early.
Exit status: 0 ended, 1 an RPC failed and -fail was given, 2 a wrong flag.

`

// parse returns flag.ErrHelp after -h, else every wrong flag joined.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.target, "target", "", "gRPC `target`, such as dns:///hello.test:50051 (required)")
	fs.StringVar(&o.lb, "lb", "round_robin", "load balancing `policy`: round_robin or pick_first")
	fs.Float64Var(&o.rate, "rate", 100, "calls a second over all channels; with watch and chat, messages of chat")
	fs.IntVar(&o.channels, "channels", 1, "how many channels (ClientConns)")
	fs.DurationVar(&o.duration, "duration", 60*time.Second, "end after this; 0: only by a signal")
	fs.BoolVar(&o.json, "json", false, "print a JSON object for each interval and one at the end")
	fs.DurationVar(&o.every, "every", time.Second, "with -json, the interval")
	fs.StringVar(&o.method, "method", methodHi, "hi (unary), watch (one stream a channel, the server talks) or chat (one stream a channel, both talk)")
	fs.DurationVar(&o.timeout, "timeout", 10*time.Second, "deadline of each call of hi; 0: none")
	fs.BoolVar(&o.waitForReady, "wait-for-ready", false, "let calls wait for a connection instead of failing")
	fs.StringVar(&o.source, "source", "", "connect from this `IP`; empty: the system chooses")
	fs.StringVar(&o.tlsCA, "tls-ca", "", "PEM `file` of the CAs that the servers' certificates come from; empty: plaintext")
	fs.BoolVar(&o.fail, "fail", false, "exit with 1 if any RPC failed")
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

// What -method may be.
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

// check joins everything that is wrong with the flags.
func (o *options) check(rest []string) error {
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(len(rest) > 0, "unexpected argument %q", strings.Join(rest, " "))
	wrong(o.target == "", "-target: required")
	wrong(o.lb != "round_robin" && o.lb != "pick_first", "-lb %q: want round_robin or pick_first", o.lb)
	wrong(!(o.rate > 0 && o.rate <= maxRate), "-rate %v: want above 0, up to %d", o.rate, maxRate)
	wrong(o.channels < 1 || o.channels > maxChannels, "-channels %d: want 1 to %d", o.channels, maxChannels)
	wrong(o.duration < 0, "-duration %v: below 0", o.duration)
	wrong(o.timeout < 0, "-timeout %v: below 0", o.timeout)
	wrong(o.every < minEvery, "-every %v: want at least %v", o.every, minEvery)
	wrong(!slices.Contains([]string{methodHi, methodWatch, methodChat}, o.method), "-method %q: want hi, watch or chat", o.method)
	wrong(o.source != "" && net.ParseIP(o.source) == nil, "-source %q: want an IP address", o.source)
	return errors.Join(errs...)
}
