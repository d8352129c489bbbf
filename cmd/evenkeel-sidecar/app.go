package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/health/metrics"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/peers/kube"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Exit statuses.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// run runs the whole program and returns its exit status.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil || o.printConfig:
		return printConfig(&o, err, stdout, stderr)
	case o.drain:
		return report(stderr, exitFail, askToDrain(o.listen))
	}
	a, err := newApp(&o, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.logLevel})))
	if err != nil {
		return report(stderr, exitUsage, err)
	}
	return report(stderr, exitFail, a.serve(stdout))
}

// report prints an error, and returns the exit status: code if there is one.
func report(stderr io.Writer, code int, err error) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "evenkeel-sidecar:", oneLine(err))
	return code
}

// printConfig prints the configuration, or everything that is wrong with the flags and with it.
func printConfig(o *options, flags error, stdout, stderr io.Writer) int {
	cfg, err := config.Load(o.config)
	if err == nil {
		err = unusable(&cfg)
	}
	if err = errors.Join(flags, err); err != nil {
		return report(stderr, exitUsage, err)
	}
	text, err := cfg.YAML()
	if err != nil {
		return report(stderr, exitFail, err)
	}
	_, _ = stdout.Write(text)
	return exitOK
}

// app is a sidecar with everything that it needs.
type app struct {
	o     *options
	log   *slog.Logger
	bal   *rebalance.Balancer
	up    *upstream
	proxy *proxy

	stopOnce sync.Once
	stopped  chan struct{} // closed when Shutdown has returned
}

// newApp assembles the sidecar. All of its errors are caused by settings.
func newApp(o *options, log *slog.Logger) (*app, error) {
	keys, errKeys := loadKeyring(o, log)
	bal, errBal := rebalance.Load(o.config,
		rebalance.WithLogger(log), rebalance.WithSelf(o.name, o.podIP()),
		rebalance.WithSource(config.SourceKubernetes, kube.FromConfig))
	if err := errors.Join(errKeys, errBal); err != nil {
		return nil, err
	}
	cfg := bal.Config()
	if err := unusable(&cfg); err != nil {
		return nil, err
	}
	a := &app{o: o, log: log, bal: bal, stopped: make(chan struct{})}
	a.up = newUpstream(o, a.upstreamChanged)
	var tlsConfig *tls.Config
	if keys != nil {
		tlsConfig = keys.config()
	}
	a.proxy = newProxy(inside.Of(bal), a.up, tlsConfig, log)
	return a, nil
}

// upstreamChanged shows on the page and in the metrics whether the upstream is away. A native
// sidecar starts before the server, so that this is no error at first.
func (a *app) upstreamChanged(away error, before bool) {
	severity, text := rebalance.Error, ""
	if away != nil {
		text = fmt.Sprintf("this pod is not ready and refuses clients, because the server behind the sidecar cannot be reached at %s: %v; "+
			"check that it listens there (-upstream)", a.up, away)
	}
	if !before {
		severity = rebalance.Warning
	}
	a.bal.SetCondition("upstream-away", severity, text)
}

// podName returns the name of this pod, which is also the one that the Balancer uses.
func (a *app) podName() string {
	if a.o.name != "" {
		return a.o.name
	}
	host, _ := os.Hostname()
	return host
}

// listeners are those of one sidecar; control may be nil.
type listeners struct{ clients, http, control net.Listener }

// listen opens all ports before anything is served, so that a port in use is reported
// at once and with its flag.
func (a *app) listen(ctx context.Context) (l listeners, err error) {
	take := func(name, addr string) net.Listener {
		if err != nil {
			return nil
		}
		var ln net.Listener
		var lc net.ListenConfig
		if ln, err = lc.Listen(ctx, "tcp", addr); err != nil {
			err = fmt.Errorf("%s %s: %w", name, addr, rootCause(err))
			return nil
		}
		return ln
	}
	l.clients, l.http = take("-listen", a.o.listen), take("-http", a.o.http)
	if err != nil {
		return l, err
	}
	if l.control, err = listenControl(ctx, a.o.listen); err != nil {
		a.log.Warn("-drain has no effect on this sidecar", "error", err)
	}
	return l, nil
}

// serve runs until a signal has arrived and everything has stopped, or until a part
// has failed.
func (a *app) serve(stdout io.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	l, err := a.listen(ctx)
	if err != nil {
		return err
	}
	return a.serveOn(ctx, cancel, l, signals, stdout)
}

func (a *app) serveOn(ctx context.Context, cancel context.CancelCauseFunc, l listeners, signals <-chan os.Signal, stdout io.Writer) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	for name, run := range a.parts(ctx, l) {
		wg.Go(func() {
			// A part that fails ends all others.
			if err := run(); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	fmt.Fprintf(stdout, "%s serves listen=%s http=%s upstream=%s\n", a.podName(), l.clients.Addr(), l.http.Addr(), a.up)

	select {
	case <-ctx.Done():
		a.proxy.Stop()
		return context.Cause(ctx)
	case s := <-signals:
		a.log.Info("stopping", "signal", s.String())
		go exitOnSecondSignal(ctx, signals)
		go a.endWithUpstream(ctx)
		a.drain()
		return nil
	}
}

// parts returns everything that runs concurrently, keyed by the flag or package that
// its errors are reported with.
func (a *app) parts(ctx context.Context, l listeners) map[string]func() error {
	return map[string]func() error{
		"rebalance": func() error { return a.bal.Run(ctx) },
		"-http": func() error {
			return health.Serve(ctx, l.http, a.bal, health.WithLogger(a.log),
				health.WithMetrics(metrics.Handler(a.bal, metrics.WithRegisterer(newRegistry(a)))),
				health.WithCheck("upstream", a.up.Err))
		},
		"-listen":   func() error { return a.proxy.serve(l.clients) },
		"-upstream": func() error { return a.up.watch(ctx) },
		"-drain":    func() error { return a.serveControl(ctx, l.control) },
		"others":    func() error { return a.watchOthers(ctx) },
	}
}

// drain stops the proxy within shutdown.timeout, and waits for that. RPCs that it had to cut
// off are logged. They are no failure of the sidecar.
func (a *app) drain() {
	a.stopOnce.Do(func() {
		defer close(a.stopped)
		if err := a.bal.Shutdown(a.proxy.stop, a.proxy); err != nil {
			a.log.Warn("stopped before all connections had ended", "error", err)
			lastWords(terminationLog, err.Error())
		}
	})
	<-a.stopped
}

// upstreamPoll is how often a stopping sidecar checks whether its upstream is still there.
const upstreamPoll = 100 * time.Millisecond

// endWithUpstream ends the shutdown once the upstream is away and has left no connection. A
// native sidecar gets SIGTERM when the server has ended, and has nothing to wait for then.
func (a *app) endWithUpstream(ctx context.Context) {
	tick := time.NewTicker(upstreamPoll)
	defer tick.Stop()
	a.up.recheck()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n, _ := a.proxy.count(); n == 0 && a.up.Err() != nil {
			a.log.Info("the upstream has ended, so there is nothing to wait for")
			a.proxy.end()
			return
		}
	}
}

// othersEvery is how often the connections without HTTP/2 are counted for the page.
const othersEvery = 5 * time.Second

// watchOthers shows connections that cannot be drained, and ends those that are stalled.
func (a *app) watchOthers(ctx context.Context) error {
	tick := time.NewTicker(othersEvery)
	defer tick.Stop()
	for {
		text := ""
		if _, n := a.proxy.count(); n > 0 {
			text = fmt.Sprintf("clients of %d connections do not speak HTTP/2: their bytes are passed on, and they are neither load nor drained", n)
		}
		a.bal.SetCondition("not-http2", rebalance.Info, text)
		a.proxy.closeStalled()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// exitOnSecondSignal ends the process at once when another signal arrives.
func exitOnSecondSignal(ctx context.Context, signals <-chan os.Signal) {
	select {
	case <-ctx.Done():
	case <-signals:
		os.Exit(exitFail)
	}
}
