package rebalance_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/peers/static"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// settings stand for a file in these examples.
func settings(keys ...string) config.Layers { return config.Layers{Env: []string{}, Set: keys} }

// A Balancer from a configuration: source, Balancer and watch in one call.
func ExampleLoad() {
	bal, err := rebalance.Load(settings("peers.source=static", "peers.static=127.0.0.2:8080,127.0.0.3:8080"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(bal.Status().Source)
	// Output: static (2 addresses)
}

// A program that runs on Kubernetes says how to make that source. kube.FromConfig, from
// the module github.com/evenkeel-go/evenkeel/peers/kube, is such a function.
func ExampleWithSource() {
	fromConfig := func(cfg config.Config, _ *slog.Logger) (peers.Source, error) {
		return static.New([]string{cfg.Peers.Kubernetes.Service + ":8080"})
	}
	bal, err := rebalance.Load(settings("peers.source=kubernetes", "peers.kubernetes.service=hello"),
		rebalance.WithSource(config.SourceKubernetes, fromConfig))
	fmt.Println(bal.Status().Source, err)
	// Output: static (1 address) <nil>
}

// The pieces by hand, for a program that has its own idea of a configuration.
func ExampleNew() {
	source, err := static.New([]string{"127.0.0.2:8080", "127.0.0.3:8080"})
	if err != nil {
		fmt.Println(err)
		return
	}
	bal, err := rebalance.New(config.Default(),
		rebalance.WithPeers(source),
		rebalance.WithSelf("pod-a", "127.0.0.2"),
		rebalance.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := grpc.NewServer(serveropts.Options(bal, insecure.NewCredentials())...)
	defer srv.Stop()
	fmt.Println(bal.Status().Verdict)
	// Output: waiting
}

// The life of a server: Run beside it, Shutdown at its end.
func ExampleBalancer_Shutdown() {
	bal, err := rebalance.Load(settings("shutdown.timeout=5s"), quiet)
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := grpc.NewServer(serveropts.Options(bal, insecure.NewCredentials())...)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // after Shutdown: peers and people watch the stop
	go bal.Run(ctx)
	go srv.Serve(lis)

	// On SIGTERM:
	fmt.Println("stopped:", bal.Shutdown(context.Background(), srv))
	// Output: stopped: <nil>
}

// Without Run a Balancer only counts.
func ExampleBalancer_Run() {
	bal, err := rebalance.Load(settings(), quiet)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	fmt.Println(bal.Run(ctx), bal.Status().Verdict)
	// Output: <nil> disabled
}

// A changed setting in force at once, such as from a console of your own.
func ExampleBalancer_Apply() {
	bal, _ := rebalance.Load(settings(), quiet)
	cfg := bal.Config()
	cfg.Rebalance.Enabled = false
	fmt.Println(bal.Apply(cfg), bal.Config().Rebalance.Enabled)
	cfg.Rebalance.Floor = 7
	fmt.Println(bal.Apply(cfg))
	// Output:
	// <nil> false
	// rebalance.floor: 7 is too high, allowed: 0 to 0.95
}

// A Balancer that was made by New watches a file where the program says so. One that was made
// by Load needs no such call.
func ExampleBalancer_WatchConfig() {
	layers := settings()
	cfg, _ := config.Load(layers)
	bal, _ := rebalance.New(cfg, quiet)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	fmt.Println(bal.WatchConfig(ctx, layers))
	// Output: context deadline exceeded
}

// A condition of the program's own stands beside evenkeel's, on the page and in /readyz.
func ExampleBalancer_SetCondition() {
	bal, _ := rebalance.Load(settings(), quiet)
	bal.SetCondition("database", rebalance.Warning, "the replica is 30 s behind; writes are served")
	for _, c := range bal.Status().Conditions {
		fmt.Println(c.Severity, c.Code, c.Text)
	}
	// Output: warning database the replica is 30 s behind; writes are served
}

// An operator's endpoint that empties this pod.
func ExampleBalancer_DrainAll() {
	bal, _ := rebalance.Load(settings(), quiet)
	fmt.Println(bal.DrainAll(context.Background()), "connections drained")
	// Output: 0 connections drained
}

// A job of the program's own that ends when the pod stops.
func ExampleBalancer_Stopping() {
	bal, _ := rebalance.Load(settings(), quiet)
	go bal.Shutdown(context.Background())
	<-bal.Stopping()
	fmt.Println("stopping")
	// Output: stopping
}

// The handler of a long stream ends it when its connection is drained, so that the client
// opens it on another pod.
func ExampleDraining() {
	watch := func(stream grpc.ServerStream) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-rebalance.Draining(stream.Context()):
				return status.Error(codes.Unavailable, "this connection is draining, open the stream again")
			case <-stream.Context().Done():
				return stream.Context().Err()
			case <-tick.C: // stream.SendMsg(...)
			}
		}
	}
	fmt.Println(watch != nil)
	// Output: true
}

// A stream ends a moment after its connection was drained. Package serveropts/streams does
// this for whole methods.
func ExampleAfterDraining() {
	watch := func(stream grpc.ServerStream) error {
		ctx, cancel := context.WithCancelCause(stream.Context())
		defer cancel(nil)
		stop, _ := rebalance.AfterDraining(ctx, func() {
			cancel(status.Error(codes.Unavailable, "this connection is draining, open the stream again"))
		})
		defer stop()
		<-ctx.Done() // the work of the stream
		return context.Cause(ctx)
	}
	fmt.Println(watch != nil)
	_, tracked := rebalance.AfterDraining(context.Background(), func() {}) // this context is no RPC's
	fmt.Println(tracked)
	// Output:
	// true
	// false
}

// Clients that a header names are told apart by it, not by their address.
func ExampleSetKey() {
	byTenant := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if tenant := metadata.ValueFromIncomingContext(ctx, "tenant"); len(tenant) > 0 {
			rebalance.SetKey(ctx, tenant[0])
		}
		return handler(ctx, req)
	}
	_ = grpc.UnaryInterceptor(byTenant)
	fmt.Println(rebalance.SetKey(context.Background(), "nobody's"))
	// Output: false
}

// A handler sends its client elsewhere, such as after work that warmed another pod's cache.
func ExampleDrain() {
	handler := func(ctx context.Context) { rebalance.Drain(ctx) }
	handler(context.Background())
	fmt.Println(rebalance.Drain(context.Background())) // this context is no RPC's
	// Output: false
}

// The load of a pod is what its connections carry, by your own measure.
func ExampleWithWeight() {
	bal, _ := rebalance.Load(settings(), quiet,
		rebalance.WithWeight(func(c rebalance.ConnStats) float64 { return 1 + 10*c.MeanStreams }))
	fmt.Println(bal.Status().Weight)
	// Output: custom
}

// Pods on the new machines carry twice as much as those on the old ones.
func ExampleWithShare() {
	onNewMachine := func() bool { return true }
	bal, err := rebalance.Load(settings(), quiet, rebalance.WithShare(func() float64 {
		if onNewMachine() {
			return 2
		}
		return 1
	}))
	fmt.Println(bal != nil, err)
	// Output: true <nil>
}

// A pod that is short of memory sheds connections.
func ExampleWithOverload() {
	used := func() float64 { return 0.95 }
	bal, err := rebalance.Load(settings(), quiet, rebalance.WithOverload(func() string {
		if used() > 0.9 {
			return "memory is above 90 %"
		}
		return ""
	}))
	fmt.Println(bal != nil, err)
	// Output: true <nil>
}

// Clients behind one address are told apart by the name in their certificate.
func ExampleWithKey() {
	byName := func(c rebalance.ConnInfo) string {
		if info, ok := c.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			return info.State.PeerCertificates[0].Subject.CommonName
		}
		return c.RemoteAddr.String()
	}
	bal, err := rebalance.Load(settings(), quiet, rebalance.WithKey(byName))
	fmt.Println(bal != nil, err)
	// Output: true <nil>
}

// A source of your own replaces the one that peers.source names.
func ExampleWithPeers() {
	source, _ := static.New([]string{"127.0.0.2:8080"})
	bal, _ := rebalance.Load(settings(), quiet, rebalance.WithPeers(source))
	fmt.Println(bal.Status().Source)
	// Output: static (1 address)
}

// A pod's name and address, where $POD_NAME and $POD_IP are not set.
func ExampleWithSelf() {
	bal, _ := rebalance.Load(settings(), quiet, rebalance.WithSelf("pod-a", "127.0.0.2"))
	fmt.Println(bal.Status().Pod)
	// Output: pod-a
}

// Decisions and conditions go to the program's own logger.
func ExampleWithLogger() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	bal, _ := rebalance.Load(settings(), rebalance.WithLogger(log))
	bal.DrainAll(context.Background())
	// Output: level=INFO msg=decision action=manual count=0 why="every connection was drained"
}

// Everything that a Balancer knows, for a page or a tool of your own.
func ExampleBalancer_Status() {
	bal, _ := rebalance.Load(settings(), quiet)
	s := bal.Status()
	fmt.Println(s.Connections, s.Source, s.Weight, s.Verdict)
	// Output: 0 none connections waiting
}

// The configuration in force.
func ExampleBalancer_Config() {
	bal, _ := rebalance.Load(settings("rebalance.floor=0.5"), quiet)
	fmt.Println(bal.Config().Rebalance.Floor)
	// Output: 0.5
}

// The conditions that a Balancer can show, such as for alerts.
func ExampleConditionTable() {
	for _, c := range rebalance.ConditionTable() {
		if c.Severity == rebalance.Error {
			fmt.Println(c.Code+":", c.Title)
		}
	}
	// Output:
	// untracked: connections are not tracked
	// other-balancer: two Balancers are mixed up
	// not-running: Balancer.Run was not called
	// run-ended: Balancer.Run has ended
	// health-port: the health endpoint does not serve
	// source-ended: the source of peers has ended
}

func ExampleVerdictTable() {
	for _, v := range rebalance.VerdictTable() {
		if !v.Good {
			fmt.Println(v.Verdict)
		}
	}
	// Output:
	// unbalanceable
	// stale
	// overloaded
}

func ExampleVerdicts() {
	fmt.Println(rebalance.Verdicts())
	// Output: [balanced moving checking waiting unbalanceable stale disabled overloaded draining]
}

// quiet keeps the examples' logs out of the way.
var quiet = rebalance.WithLogger(slog.New(slog.DiscardHandler))
