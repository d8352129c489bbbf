// Package server is the hello server of the example. It shows a whole service that
// uses evenkeel: TLS, a gateway, a watched configuration file, and a shutdown that
// fails no RPC. example/minimal is the place to start.
//
// It is not in package main so that the demo can run it in processes of its own.
package server

import (
	"context"
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

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/health/metrics"
	"github.com/evenkeel-go/evenkeel/peers/kube"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// Exit statuses of Main.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// Main runs the whole program and returns its exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil || o.printConfig {
		return printConfig(&o, err, stdout, stderr)
	}
	if o.checkURL != "" {
		return check(o.checkURL, stdout, stderr)
	}
	a, err := newApp(&o, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.logLevel})))
	if err != nil {
		fmt.Fprintln(stderr, "server:", oneLine(err))
		return exitUsage
	}
	if err := a.serve(stdout); err != nil {
		fmt.Fprintln(stderr, "server:", oneLine(err))
		return exitFail
	}
	return exitOK
}

// printConfig prints the configuration, or everything that is wrong with the flags and with it.
func printConfig(o *options, flags error, stdout, stderr io.Writer) int {
	cfg, err := config.Load(o.config)
	if err = errors.Join(flags, err); err != nil {
		fmt.Fprintln(stderr, "server:", oneLine(err))
		return exitUsage
	}
	text, err := cfg.YAML()
	if err != nil {
		fmt.Fprintln(stderr, "server:", err)
		return exitFail
	}
	_, _ = stdout.Write(text)
	return exitOK
}

// app is a server with everything that it needs.
type app struct {
	o    *options
	log  *slog.Logger
	keys *keyring
	bal  *rebalance.Balancer
	grpc *grpc.Server
}

// newApp assembles the server. All of its errors are caused by settings.
func newApp(o *options, log *slog.Logger) (*app, error) {
	keys, errKeys := loadKeyring(o, log)
	bal, errBal := rebalance.Load(o.config,
		rebalance.WithLogger(log), rebalance.WithSelf(o.name, o.podIP()),
		rebalance.WithSource(config.SourceKubernetes, kube.FromConfig))
	if err := errors.Join(errKeys, errBal); err != nil {
		return nil, err
	}
	a := &app{o: o, log: log, keys: keys, bal: bal}
	a.grpc = a.newServer()
	return a, nil
}

// maxStreamsPerConn bounds what one client can open at a time. grpc-go has no bound by itself.
const maxStreamsPerConn = 1000

// newServer is the part that every user of evenkeel has in some form.
func (a *app) newServer() *grpc.Server {
	opts := serveropts.Options(a.bal, a.keys.server())
	// The user's own options follow those of evenkeel. Interceptors of any kind work
	// beside it.
	opts = append(opts,
		grpc.MaxConcurrentStreams(maxStreamsPerConn),
		grpc.ChainUnaryInterceptor(recovery.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(recovery.StreamServerInterceptor()))
	if a.o.bare {
		// For the comparison, the server behaves as if evenkeel were not there: grpc's
		// keepalive defaults and, if set, the age that people use to move connections.
		opts = append(opts,
			grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: a.o.bareMaxAge}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{}))
	}
	srv := grpc.NewServer(opts...)
	hellov1.RegisterHelloServiceServer(srv, &hello{pod: a.podName(), stopping: a.bal.Stopping()})
	health.Register(srv, a.bal)
	if a.o.introspection {
		reflection.Register(srv)
		channelz.RegisterChannelzServiceToServer(srv)
	}
	return srv
}

// podName returns the name of this pod, which is also the one that the Balancer uses.
func (a *app) podName() string {
	if a.o.name != "" {
		return a.o.name
	}
	host, _ := os.Hostname()
	return host
}

// listeners are those of one server; gateway may be nil.
type listeners struct{ grpc, http, gateway net.Listener }

// listen opens all ports before anything is served, so that a port in use is reported
// at once and with its flag.
func (a *app) listen(ctx context.Context) (l listeners, err error) {
	take := func(name, addr string) net.Listener {
		if addr == "" || err != nil {
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
	l.grpc, l.http, l.gateway = take("-grpc", a.o.grpcAddr), take("-http", a.o.httpAddr), take("-gateway", a.o.gatewayAddr)
	return l, err
}

// rootCause strips from err the name of the call and the address, which package net puts
// before the cause.
func rootCause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err
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
	gw, err := a.gateway(ctx, l)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer a.waitFor(&wg)
	defer cancel(nil)
	for name, run := range a.parts(ctx, l, gw) {
		wg.Go(func() {
			// A part that fails ends all others.
			if err := run(); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	a.announce(stdout, l)

	select {
	case <-ctx.Done():
		a.grpc.Stop()
		if gw != nil {
			gw.stop(ctx)
		}
		return context.Cause(ctx)
	case s := <-signals:
		a.log.Info("stopping", "signal", s.String())
		go exitOnSecondSignal(ctx, signals)
		return a.stop(&stopper{Server: a.grpc, gateway: gw, timeout: a.bal.Config().Shutdown.Timeout})
	}
}

// partsTimeout is how long the parts may take to end. A handler that never returns must
// not keep the process alive.
const partsTimeout = 3 * time.Second

func (a *app) waitFor(parts *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		parts.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(partsTimeout):
		a.log.Warn("exiting although a handler has not returned", "waited", partsTimeout)
	}
}

// parts returns everything that runs concurrently, keyed by the flag or package that
// its errors are reported with.
func (a *app) parts(ctx context.Context, l listeners, gw *gateway) map[string]func() error {
	parts := map[string]func() error{
		"rebalance": func() error { return a.bal.Run(ctx) },
		"-http": func() error {
			return health.Serve(ctx, l.http, a.bal, health.WithLogger(a.log), health.WithMetrics(metrics.Handler(a.bal)))
		},
		"-grpc":        func() error { return a.grpc.Serve(l.grpc) },
		"-drain-every": func() error { return a.drainPeriodically(ctx) },
	}
	if gw != nil {
		parts["-gateway"] = func() error { return gw.serve(l.gateway) }
		parts["gateway"] = func() error { return a.grpc.Serve(gw.inner) }
	}
	return parts
}

func (a *app) gateway(ctx context.Context, l listeners) (*gateway, error) {
	if l.gateway == nil {
		return nil, nil //nolint:nilnil // there is no gateway without -gateway
	}
	return newGateway(ctx, a.bal, a.keys)
}

// announce prints the addresses of this pod, on one line for people and scripts.
func (a *app) announce(stdout io.Writer, l listeners) {
	line := fmt.Sprintf("%s serves grpc=%s http=%s", a.podName(), l.grpc.Addr(), l.http.Addr())
	if l.gateway != nil {
		line += fmt.Sprintf(" gateway=%s", l.gateway.Addr())
	}
	fmt.Fprintln(stdout, line)
}

// exitOnSecondSignal ends the process at once when another signal arrives.
func exitOnSecondSignal(ctx context.Context, signals <-chan os.Signal) {
	select {
	case <-ctx.Done():
	case <-signals:
		os.Exit(exitFail)
	}
}

// stopper stops the gateway before the gRPC server behind it.
type stopper struct {
	*grpc.Server

	gateway *gateway
	timeout time.Duration
}

// GracefulStop lets all requests and RPCs in flight finish.
func (s *stopper) GracefulStop() {
	if s.gateway != nil {
		ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
		defer cancel()
		s.gateway.stop(ctx)
	}
	s.Server.GracefulStop()
}

// Stop ends both servers at once.
func (s *stopper) Stop() {
	if s.gateway != nil {
		s.gateway.web.Stop()
	}
	s.Server.Stop()
}

// stop ends all RPCs within shutdown.timeout. RPCs that it had to cut off are logged.
// They are no failure of the server, so stop returns nil.
func (a *app) stop(srv *stopper) error {
	ctx, cancel := context.WithTimeout(context.Background(), a.bal.Config().Shutdown.Timeout)
	defer cancel()
	var err error
	if a.o.bare {
		err = stopBare(ctx, srv)
	} else {
		err = a.bal.Shutdown(ctx, srv)
	}
	if err != nil {
		a.log.Warn("stopped before all RPCs had finished", "error", err)
		lastWords(terminationLog, err.Error())
	}
	return nil
}

// stopBare stops srv as a server without evenkeel would.
func stopBare(ctx context.Context, srv *stopper) error {
	late := context.AfterFunc(ctx, srv.Stop)
	srv.GracefulStop() //nolint:contextcheck // it takes no context; late ends it
	if !late() {
		return ctx.Err()
	}
	return nil
}

func (a *app) drainPeriodically(ctx context.Context) error {
	if a.o.drainEvery == 0 {
		return nil
	}
	tick := time.NewTicker(a.o.drainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.bal.DrainAll(ctx)
		}
	}
}
