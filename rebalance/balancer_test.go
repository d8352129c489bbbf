package rebalance

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
)

// hand is a source of peers that the test operates by hand.
type hand struct {
	mu     sync.Mutex
	report func(peers.Membership)
	last   peers.Membership
	renew  bool // repeat the last report every few seconds, as sources do
}

func (h *hand) Run(ctx context.Context, report func(peers.Membership)) error {
	h.mu.Lock()
	h.report = report
	h.mu.Unlock()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.mu.Lock()
			if h.renew {
				report(h.last)
			}
			h.mu.Unlock()
		}
	}
}

func (h *hand) String() string { return "hand" }

func (h *hand) set(m peers.Membership) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = m
	h.report(m)
}

func pods(addrs ...string) peers.Membership {
	var m peers.Membership
	for _, a := range addrs {
		m.Members = append(m.Members, peers.Member{Addrs: []netip.Addr{netip.MustParseAddr(a)}})
	}
	return m
}

// started runs a Balancer in the test's bubble.
func started(t *testing.T, src peers.Source, change func(*config.Config)) *Balancer {
	t.Helper()
	cfg := config.Default()
	cfg.Shutdown.Timeout = 30 * time.Second
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg, WithPeers(src), WithSelf("pod-a", "198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// keepReporting records reports of other pods every second, as if they had been polled.
func keepReporting(t *testing.T, b *Balancer, addrs ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	tick := time.NewTicker(time.Second)
	go func() {
		defer close(done)
		defer tick.Stop()
		for {
			for _, a := range addrs {
				b.peers.Record(a, peerz.Report{Pod: "pod-" + a, Ready: true, UptimeMillis: b.reg.Now().Milliseconds()}, nil)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
}

func wantVerdict(t *testing.T, b *Balancer, v Verdict, why string) {
	t.Helper()
	synctest.Wait()
	if s := b.Status(); s.Verdict != v || !strings.Contains(s.Why, why) {
		t.Errorf("verdict %s (%s), want %s with %q", s.Verdict, s.Why, v, why)
	}
}

func hasCondition(b *Balancer, code string) bool {
	for _, c := range b.Status().Conditions {
		if c.Code == code {
			return true
		}
	}
	return false
}

func TestFailStatic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		keepReporting(t, b, "198.18.0.2")
		time.Sleep(time.Second)
		wantVerdict(t, b, Stale, "has not answered yet")
		if hasCondition(b, "stale-view") {
			t.Error("the condition shows at once: every start would cry wolf")
		}
		src.set(peers.Membership{Err: errors.New("no such host")})
		time.Sleep(11 * time.Second)
		wantVerdict(t, b, Stale, "no such host")
		if !hasCondition(b, "stale-view") {
			t.Error("no condition although the view has been stale for long")
		}

		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(3 * time.Second)
		wantVerdict(t, b, Balanced, "2 pods")
		if hasCondition(b, "stale-view") {
			t.Error("the condition stays although the view is good")
		}

		src.set(peers.Membership{Err: errors.New("API server away")})
		time.Sleep(20 * time.Second)
		wantVerdict(t, b, Balanced, "2 pods") // the last good view holds for a while
		time.Sleep(12 * time.Second)
		wantVerdict(t, b, Stale, "API server away")

		src.set(pods("198.18.0.2", "198.18.0.3"))
		time.Sleep(time.Second)
		wantVerdict(t, b, Stale, "no longer lists this pod (198.18.0.1)")
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(4 * time.Second)
		wantVerdict(t, b, Balanced, "2 pods")
	})
}

func TestViewBecomesStaleIfNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{}
		b := started(t, src, nil)
		keepReporting(t, b, "198.18.0.2")
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(29 * time.Second)
		wantVerdict(t, b, Balanced, "2 pods")
		time.Sleep(3 * time.Second)
		wantVerdict(t, b, Stale, "has reported nothing for more than 30s")
	})
}

// A key that a handler sets reaches planning.
func TestKeysOfHandlersReachPlanning(t *testing.T) {
	b, err := New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	conn := inside.Of(b).Track(server, nil)
	defer conn.Close()
	if all := b.plannedConns(config.WeightConnections); len(all) != 0 {
		t.Fatalf("a client that has not spoken is planned with: %+v", all)
	}
	begin(conn, h2conn.InUse)
	if all := b.plannedConns(config.WeightConnections); len(all) != 1 || all[0].Named {
		t.Fatalf("%+v", all)
	}
	conns.FromAddr(conn.RemoteAddr()).SetKey("tenant")
	if all := b.plannedConns(config.WeightConnections); !all[0].Named || all[0].Key != "tenant" {
		t.Errorf("%+v", all)
	}
}

// Kubernetes gave the pod its grace period at the start, so the time to stop stays the one of
// that moment.
func TestShutdownTimeoutNeedsARestart(t *testing.T) {
	b, err := New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	cfg := b.Config()
	was := cfg.Shutdown.Timeout
	cfg.Shutdown.Timeout = time.Minute
	if err := b.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	if now := b.Config().Shutdown.Timeout; now != was {
		t.Errorf("shutdown.timeout became %v, want %v as before", now, was)
	}
	if !hasCondition(b, "restart-needed") {
		t.Error("no condition names the restart that is needed")
	}
}

func TestApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(3 * time.Second)
		cfg := b.Config()
		cfg.Rebalance.Enabled = false
		cfg.Policy.KeepaliveTime = time.Hour
		if err := b.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		wantVerdict(t, b, Disabled, "rebalance.enabled is false")
		if got := b.Config().Policy.KeepaliveTime; got == time.Hour {
			t.Error("a key that needs a restart was taken up")
		}
		if !hasCondition(b, "restart-needed") {
			t.Error("no condition says that policy.keepaliveTime needs a restart")
		}
		cfg.Rebalance.Floor = 7
		if err := b.Apply(cfg); err == nil || !strings.Contains(err.Error(), "rebalance.floor") {
			t.Errorf("invalid configuration: %v", err)
		}
	})
}

func TestDuplicateNameAndSilentPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		src.set(pods("198.18.0.1", "198.18.0.2", "198.18.0.3"))
		synctest.Wait()
		b.peers.Record("198.18.0.2", peerz.Report{Pod: "pod-a"}, nil)
		b.peers.Record("198.18.0.3", peerz.Report{}, errors.New("connection refused"))
		if text := b.peers.Duplicates(); !strings.Contains(text, `2 pods have the name "pod-a" (198.18.0.2, this pod)`) {
			t.Errorf("duplicate name: %q", text)
		}
		if text := b.peers.Silent(); !strings.Contains(text, "1 of 2 peers do not answer on their health port; check the NetworkPolicy, peers.port and peers.tls: 198.18.0.3 (connection refused)") {
			t.Errorf("silent: %q", text)
		}
	})
}

func TestUntrackedRPCIsReportedOnce(t *testing.T) {
	var log bytes.Buffer
	b, err := New(config.Default(), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	if !b.seen(context.Background()) {
		t.Error("a context that belongs to no RPC counted as an untracked RPC")
	}
	rpc := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}})
	for range 3 {
		if b.seen(rpc) {
			t.Error("an untracked RPC counted as tracked")
		}
	}
	s := b.Status()
	if s.Untracked != 3 || len(s.Conditions) != 1 || s.Conditions[0].Code != "untracked" || s.Conditions[0].Severity != Error {
		t.Errorf("untracked %d, conditions %+v", s.Untracked, s.Conditions)
	}
	if !strings.Contains(s.Conditions[0].Text, "serveropts.Options(bal, creds)") {
		t.Errorf("the text does not name the cure: %s", s.Conditions[0].Text)
	}
	if n := strings.Count(log.String(), "untracked"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, log.String())
	}
}

func TestMissingRunIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(config.Default())
		if err != nil {
			t.Fatal(err)
		}
		client, server := net.Pipe()
		defer client.Close()
		defer inside.Of(b).Track(server, nil).Close()
		time.Sleep(9 * time.Second)
		if hasCondition(b, "not-running") {
			t.Error("the condition shows too early")
		}
		time.Sleep(2 * time.Second)
		if !hasCondition(b, "not-running") {
			t.Error("no condition says that Run is missing")
		}
	})
}

func TestRunTwiceIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := started(t, &hand{}, nil)
		synctest.Wait()
		if err := b.Run(t.Context()); !errors.Is(err, ErrRunning) {
			t.Errorf("second Run: %v", err)
		}
	})
}

// After a change of the weight, loads by the old one do not count.
func TestChangedWeightIsMeasuredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := crowded(t, 3, "")
		time.Sleep(time.Minute)
		b.sample()
		own := func() float64 {
			cfg := b.Config()
			load, _ := b.load(b.weight(&cfg))
			return load
		}
		if l := own(); l != 3 {
			t.Fatalf("load %v of 3 connections", l)
		}
		cfg := b.Config()
		cfg.Rebalance.Weight = config.WeightStreams
		if err := b.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		if l := own(); l != 0 {
			t.Errorf("load %v by streams in flight, want 0", l)
		}
	})
}

// Uptime counts from when the pod became a member, which is when clients could come.
func TestUptimeCountsFromMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		src.set(pods("198.18.0.2"))
		time.Sleep(5 * time.Minute)
		if up := b.report(nil).Uptime(); up != 0 {
			t.Errorf("up for %v before it was a member", up)
		}
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(10 * time.Second)
		src.set(pods("198.18.0.2"))
		time.Sleep(10 * time.Second)
		if up := b.report(nil).Uptime(); up < 19*time.Second || up > 20*time.Second {
			t.Errorf("up for %v, want 20 s", up)
		}
	})
}

// A Run that has ended was called: not-running does not show.
func TestRunThatEndedIsNotMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(config.Default())
		if err != nil {
			t.Fatal(err)
		}
		visitor(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := b.Run(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if hasCondition(b, "not-running") {
			t.Error("the condition not-running shows")
		}
	})
}

// curious is a slog.Handler that asks the Balancer that logs for its status, and sets a
// condition of its own.
type curious struct {
	slog.Handler
	b **Balancer
}

func (c curious) Handle(ctx context.Context, r slog.Record) error {
	if *c.b != nil {
		(*c.b).Status()
		(*c.b).SetCondition("log", Info, "of the log")
	}
	return c.Handler.Handle(ctx, r)
}

func TestLogHandlerMayUseTheBalancer(t *testing.T) {
	var b *Balancer
	var text bytes.Buffer
	log := slog.New(curious{slog.NewTextHandler(&text, nil), &b})
	made, err := New(config.Default(), WithLogger(log))
	if err != nil {
		t.Fatal(err)
	}
	b = made
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.SetCondition("a", Warning, "first")
		b.SetCondition("b", Info, "second")
		b.SetCondition("a", Warning, "")
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the Balancer waits for its own log")
	}
	want := []string{"text=first", `text="of the log"`, "text=second", "cleared"}
	got := strings.Split(strings.TrimSpace(text.String()), "\n")
	if !slices.EqualFunc(got, want, strings.Contains) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// The codes of the table are the Balancer's own.
func TestSetConditionRefusesItsOwnCodes(t *testing.T) {
	var log bytes.Buffer
	b, err := New(config.Default(), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	b.SetCondition("stale-view", Error, "of the user's")
	b.SetCondition("database", Warning, "behind")
	if all := b.Status().Conditions; len(all) != 1 || all[0].Code != "database" {
		t.Errorf("conditions %+v", all)
	}
	if !strings.Contains(log.String(), "SetCondition is ignored") {
		t.Errorf("the log does not say so: %s", log.String())
	}
}
