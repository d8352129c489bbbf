package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/peers/static"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// realPod is a Balancer with a gRPC server and a health endpoint on sockets.
type realPod struct{ http, grpc string }

// startPod weighs each connection 2.5; nothing moves.
func startPod(t *testing.T, name, addr, port string, members []string) *realPod {
	t.Helper()
	source, err := static.New(members)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Rebalance.Enabled = false
	bal, err := rebalance.New(cfg, rebalance.WithPeers(source), rebalance.WithSelf(name, addr),
		rebalance.WithWeight(func(rebalance.ConnStats) float64 { return 2.5 }))
	if err != nil {
		t.Fatal(err)
	}
	return runPod(t, bal, listenOn(t, addr+":0"), listenOn(t, addr+":"+port))
}

func listenOn(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func runPod(t *testing.T, bal *rebalance.Balancer, grpcPort, healthPort net.Listener) *realPod {
	t.Helper()
	srv := grpc.NewServer(serveropts.Options(bal, insecure.NewCredentials())...)
	health.Register(srv, bal)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 3)
	go func() { done <- bal.Run(ctx) }()
	go func() { done <- health.Serve(ctx, healthPort, bal, health.WithMetrics(Handler(bal))) }()
	go func() { done <- srv.Serve(grpcPort) }()
	t.Cleanup(func() {
		cancel()
		srv.Stop()
		for range cap(done) {
			<-done
		}
	})
	return &realPod{http: healthPort.Addr().String(), grpc: grpcPort.Addr().String()}
}

// dial opens n connections and calls once on each. Without a call, a connection is no load.
func (p *realPod) dial(t *testing.T, n int) {
	t.Helper()
	for range n {
		conn, err := grpc.NewClient("passthrough:///"+p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		err = conn.Invoke(t.Context(), "/test.Service/Call", &emptypb.Empty{}, &emptypb.Empty{})
		if status.Code(err) != codes.Unimplemented {
			t.Fatal(err)
		}
	}
}

func (p *realPod) get(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.http+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// loads summarizes the loads in /statusz.
func (p *realPod) loads(t *testing.T) string {
	t.Helper()
	var st rebalance.Status
	if err := json.Unmarshal([]byte(p.get(t, "/statusz")), &st); err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%s %v, mean %v, band %.4g to %.4g:", st.Weight, st.Load, st.MeanLoad, st.Band.Under, st.Band.Over)
	for _, peer := range st.Peers {
		load := math.NaN()
		if peer.Load != nil {
			load = *peer.Load
		}
		out += fmt.Sprintf(" %s %v", peer.Pod, load)
	}
	return out
}

// The loads of a custom weight, from the connections of two pods to what both pods show.
func TestLoadsOfRealPods(t *testing.T) {
	free := listenOn(t, "127.0.21.1:0")
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	members := []string{"127.0.21.1:" + port, "127.0.21.2:" + port}
	a := startPod(t, "pod-a", "127.0.21.1", port, members)
	b := startPod(t, "pod-b", "127.0.21.2", port, members)
	a.dial(t, 3)
	b.dial(t, 1)
	wantLoads(t, a, "custom 7.5, mean 5, band 3.5 to 5.5: pod-a 7.5 pod-b 2.5")
	wantLoads(t, b, "custom 2.5, mean 5, band 3.5 to 5.5: pod-a 7.5 pod-b 2.5")
	for path, want := range map[string]string{
		"/":             "Load: custom weight; mean 5, over-loaded above 5.5, under-loaded below 3.5",
		"/statusz?text": "7.5 (custom weight); mean 5, over-loaded above 5.5, under-loaded below 3.5",
		"/metrics":      "\nevenkeel_load{weight=\"custom\"} 7.5\n",
	} {
		if body := a.get(t, path); !strings.Contains(body, want) {
			t.Errorf("%s does not contain %q:\n%s", path, want, body)
		}
	}
	if body := a.get(t, "/metrics"); !strings.Contains(body, "\nevenkeel_load_mean{weight=\"custom\"} 5\n") {
		t.Error("/metrics has no evenkeel_load_mean of 5")
	}
}

// wantLoads waits until the pod shows these loads: it samples its own load, and polls the
// other pod, once a second.
func wantLoads(t *testing.T, p *realPod, want string) {
	t.Helper()
	tick, end := time.NewTicker(100*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for {
		got := p.loads(t)
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}
