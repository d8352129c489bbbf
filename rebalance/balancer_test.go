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
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
)

// hand is a source of peers that the test holds in its hand.
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

// started runs a Balancer in the bubble of the test.
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

// keepTelling books reports of other pods each second, as if they had been asked.
func keepTelling(t *testing.T, b *Balancer, addrs ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	tick := time.NewTicker(time.Second)
	go func() {
		defer close(done)
		defer tick.Stop()
		for {
			b.poll(ctx) // makes the book
			for _, a := range addrs {
				b.peers.book(a, peerz.Report{Pod: "pod-" + a, Ready: true, UptimeMillis: b.reg.Now().Milliseconds()}, nil)
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
		keepTelling(t, b, "198.18.0.2")
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
		wantVerdict(t, b, Stale, "does not list this pod (198.18.0.1)")
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(4 * time.Second)
		wantVerdict(t, b, Balanced, "2 pods")
	})
}

func TestViewThatNobodyRenewsBecomesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{}
		b := started(t, src, nil)
		keepTelling(t, b, "198.18.0.2")
		src.set(pods("198.18.0.1", "198.18.0.2"))
		time.Sleep(29 * time.Second)
		wantVerdict(t, b, Balanced, "2 pods")
		time.Sleep(3 * time.Second)
		wantVerdict(t, b, Stale, "no view for more than 30s")
	})
}

func TestWhoCountsAsMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &hand{renew: true}
		b := started(t, src, nil)
		m := pods("198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.4")
		m.Members[1].Terminating = true
		m.Members[2].Unproven = true
		src.set(m)
		time.Sleep(2 * time.Second)
		ids := func() string {
			all, stale := b.members()
			var out []string
			for _, one := range all {
				out = append(out, one.id)
			}
			return strings.Join(out, " ") + stale
		}
		if got := ids(); got != "198.18.0.1 198.18.0.4" {
			t.Errorf("members %q: neither one that terminates nor one that never answered", got)
		}
		b.peers.book("198.18.0.3", peerz.Report{Pod: "c", Ready: true}, nil)
		b.peers.book("198.18.0.4", peerz.Report{Pod: "d", Ready: false}, nil)
		if got := ids(); got != "198.18.0.1 198.18.0.3" {
			t.Errorf("members %q: .3 answers now, and .4 says that it is stopping", got)
		}
	})
}

func TestOneAddressFamilyOrTwoIsOnePod(t *testing.T) {
	b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("a", "2001:db8::1"))
	if err != nil {
		t.Fatal(err)
	}
	one, two := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8::1")
	for _, addrs := range [][]netip.Addr{{one, two}, {two, one}} {
		m, ok := b.toMember(peers.Member{Addrs: addrs})
		if !ok || m.id != "198.18.0.1" || !m.self || len(m.addrs) != 2 {
			t.Errorf("%v: %+v", addrs, m)
		}
	}
}

// What planning and a new process must know of is passed on.
func TestHandlersKeysReachPlanning(t *testing.T) {
	b, err := New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	conn := inside.Of(b).Track(server, nil)
	defer conn.Close()
	if all := b.ownConns(); len(all) != 1 || all[0].Named {
		t.Fatalf("%+v", all)
	}
	conns.FromAddr(conn.RemoteAddr()).SetKey("tenant")
	if all := b.ownConns(); !all[0].Named || all[0].Key != "tenant" {
		t.Errorf("%+v", all)
	}
}

// The grace that Kubernetes gave the pod at its start fits the time of then.
func TestTimeToStopIsThatOfTheStart(t *testing.T) {
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
		t.Errorf("%v, was %v", now, was)
	}
	if !hasCondition(b, "restart-needed") {
		t.Error("nothing says that it needs a restart")
	}
}

// A Service may have the other address family only: then the name tells, and never where the
// addresses can.
func TestSelfByName(t *testing.T) {
	b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("a", "198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		pod, addr string
		self      bool
	}{
		{"a", "2001:db8::1", true},
		{"b", "2001:db8::1", false},
		{"", "2001:db8::1", false},
		{"a", "198.18.0.2", false},
		{"b", "198.18.0.1", true},
	} {
		m := peers.Member{Pod: tc.pod, Addrs: []netip.Addr{netip.MustParseAddr(tc.addr)}}
		if got := b.isSelf(&m); got != tc.self {
			t.Errorf("%+v: %v", tc, got)
		}
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
			t.Error("nothing says that policy.keepaliveTime needs a restart")
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
		b.peers.mu.Lock()
		b.peers.reports = map[string]peerReport{
			"198.18.0.2": {report: peerz.Report{Pod: "pod-a"}, at: time.Now()},
			"198.18.0.3": {err: errors.New("connection refused")},
		}
		b.peers.mu.Unlock()
		if text := b.duplicateText(); !strings.Contains(text, `2 pods call themselves "pod-a" (198.18.0.2, this one)`) {
			t.Errorf("duplicate name: %q", text)
		}
		if text := b.silentText(); !strings.Contains(text, "1 of 2 peers do not answer on their health port: 198.18.0.3 (connection refused)") {
			t.Errorf("silent: %q", text)
		}
	})
}

func TestUntrackedRPCIsSaidOnceAndLoudly(t *testing.T) {
	var log bytes.Buffer
	b, err := New(config.Default(), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	if !b.seen(context.Background()) {
		t.Error("a context that is no RPC's is not an untracked RPC")
	}
	rpc := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}})
	for range 3 {
		if b.seen(rpc) {
			t.Error("taken for tracked")
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

func TestServingWithoutRunIsNoticed(t *testing.T) {
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
			t.Error("said too early")
		}
		time.Sleep(2 * time.Second)
		if !hasCondition(b, "not-running") {
			t.Error("nothing says that Run is missing")
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

// slowServer stops gracefully only after a while.
type slowServer struct {
	b        *Balancer
	takes    time.Duration
	graceful time.Time
	draining int // then
	stopped  chan struct{}
}

func (s *slowServer) GracefulStop() {
	s.graceful, s.draining = time.Now(), s.b.Status().Draining
	select {
	case <-time.After(s.takes):
	case <-s.stopped:
	}
}

func (s *slowServer) Stop() { close(s.stopped) }

func TestShutdown(t *testing.T) {
	for name, tc := range map[string]struct {
		takes   time.Duration
		forgets time.Duration // when the source forgets the pod; 0: never
		least   time.Duration // before GracefulStop
		idle    bool          // nobody is connected
		err     error
	}{
		"clean":       {takes: time.Second, forgets: 3 * time.Second, least: 3 * time.Second},
		"remembered":  {takes: time.Second, least: 10 * time.Second}, // a third of 30 s, no longer
		"long stream": {takes: time.Hour, forgets: time.Second, least: time.Second, err: context.DeadlineExceeded},
		"idle":        {forgets: 3 * time.Second, least: 3 * time.Second, idle: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &hand{renew: true}
				b := started(t, src, nil)
				src.set(pods("198.18.0.1", "198.18.0.2"))
				connected := 0
				if !tc.idle {
					visitor(t, b)
					connected = 1
				}
				if tc.forgets > 0 {
					time.AfterFunc(tc.forgets, func() { src.set(pods("198.18.0.2")) })
				}
				srv := &slowServer{b: b, takes: tc.takes, stopped: make(chan struct{})}
				begin := time.Now()
				err := b.Shutdown(t.Context(), srv)
				if !errors.Is(err, tc.err) {
					t.Errorf("error %v, want %v", err, tc.err)
				}
				if waited := srv.graceful.Sub(begin); waited < tc.least || waited > tc.least+11*time.Second {
					t.Errorf("GracefulStop after %v, want a lame duck of %v and the spread", waited, tc.least)
				}
				if took := time.Since(begin); took > 30*time.Second {
					t.Errorf("took %v, more than shutdown.timeout", took)
				}
				if b.ready() || srv.draining != connected {
					t.Errorf("ready %v, %d draining", b.ready(), srv.draining)
				}
			})
		})
	}
}

// A pod that was not told its address, or only that of the family which the Service does not have,
// waits until it is forgotten all the same.
func TestLameDuckByName(t *testing.T) {
	v4, v6 := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("fd00::1")
	for name, tc := range map[string]struct {
		self    string
		addr    netip.Addr
		listed  time.Duration // how long the source lists it, and DNS answers with it
		inDNS   time.Duration
		resolve string
	}{
		"no address":        {"", v4, 4 * time.Second, 0, ""},
		"the other family":  {v4.String(), v6, 4 * time.Second, 0, ""},
		"longer in DNS":     {v4.String(), v6, time.Second, 7 * time.Second, "hello.test"},
		"no address in DNS": {"", v4, time.Second, 7 * time.Second, "hello.test"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("pod-a", tc.self))
				if err != nil {
					t.Fatal(err)
				}
				me, other := peers.Member{Pod: "pod-a", Addrs: []netip.Addr{tc.addr}}, peers.Member{Pod: "pod-b", Addrs: []netip.Addr{netip.MustParseAddr("198.18.0.2")}}
				both, one := peers.Membership{Members: []peers.Member{me, other}}, peers.Membership{Members: []peers.Member{other}}
				z := &zone{}
				z.set(both)
				if b.clientDNS.resolver = z; tc.resolve != "" {
					b.clientDNS.fixed = true
					b.clientDNS.set(tc.resolve)
				}
				b.onMembership(both)
				time.AfterFunc(tc.listed, func() { b.onMembership(one) })
				time.AfterFunc(tc.inDNS, func() { z.set(one) })
				begun := time.Now()
				b.waitForgotten(t.Context(), 10*time.Second)
				if took, want := time.Since(begun), max(tc.listed, tc.inDNS); took < want || took > want+time.Second {
					t.Errorf("it waited %v, want %v", took, want)
				}
				b.peers.close()
			})
		})
	}
}

// Loads by the weight of before are no loads by that of now.
func TestAChangedWeightIsMeasuredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := crowded(t, 3, "")
		time.Sleep(time.Minute)
		b.sample()
		if w := b.reg.Loads().Weight; w != 3 {
			t.Fatalf("weight %v of 3 connections", w)
		}
		cfg := b.Config()
		cfg.Rebalance.Weight = config.WeightStreams
		if err := b.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		b.sample()
		if w := b.reg.Loads().Weight; w != 0 {
			t.Errorf("%v streams in flight, and there are none", w)
		}
	})
}

// Clients know a pod since it became a member, and not since its process began.
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

// A client whose resolver rests comes back to the pod that sent it away: it knows no
// other. It must find it until it has looked again.
func TestShutdownServesWhoComesBack(t *testing.T) {
	for name, tc := range map[string]struct {
		name  string        // what clients resolve
		stays time.Duration // until its resolver has looked
		stops time.Duration // when the listener may close, at the latest and nearly at the earliest
	}{
		"learns in time": {name: "hello.test", stays: 15 * time.Second, stops: 15 * time.Second},
		"never learns":   {name: "hello.test", stays: time.Hour, stops: 27 * time.Second},
		"no DNS":         {stays: time.Hour, stops: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &hand{renew: true}
				b := gated(t, src, &zone{}, tc.name)
				src.set(pods("198.18.0.2"))
				visitor(t, b)
				go func() {
					<-b.Stopping()
					for b.Status().Draining == 0 {
						time.Sleep(time.Millisecond)
					}
					back, server := net.Pipe()
					conn := inside.Of(b).Track(server, nil)
					defer back.Close()
					defer conn.Close()
					select {
					case <-time.After(tc.stays):
					case <-t.Context().Done():
					}
				}()
				srv := &slowServer{b: b, takes: time.Second, stopped: make(chan struct{})}
				begun := time.Now()
				if err := b.Shutdown(t.Context(), srv); err != nil {
					t.Error(err)
				}
				if took := srv.graceful.Sub(begun); took > tc.stops+2*time.Second || took < tc.stops-time.Second {
					t.Errorf("it stopped serving after %v, want about %v", took, tc.stops)
				}
			})
		})
	}
}

func TestMomentsAreWithinTheWindow(t *testing.T) {
	last := time.Duration(-1)
	for _, m := range momentsIn(time.Second, 1000) {
		if m < last || m >= time.Second {
			t.Fatalf("moment %v after %v", m, last)
		}
		last = m
	}
}

// Run was called, and its end is no reason to say that it was not.
func TestRunThatEndedWasCalled(t *testing.T) {
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

// A source may go on using what it has reported.
func TestWhatASourceReportsIsCopied(t *testing.T) {
	b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("pod-a", "198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	m := pods("198.18.0.1", "198.18.0.2")
	b.onMembership(m)
	for _, addr := range []string{"198.18.0.3", "198.18.0.4"} {
		m.Members[1].Addrs[0] = netip.MustParseAddr(addr)
		members, _, _ := b.peers.membership()
		if members[1].Addrs[0] == m.Members[1].Addrs[0] {
			t.Error("the Balancer keeps what is the source's")
		}
		b.onMembership(m)
		if ids := b.peers.listed; ids[1].id != addr {
			t.Errorf("%s is asked, want %s", ids[1].id, addr)
		}
	}
}

// curious is a slog.Handler that looks at the Balancer whose log it keeps, and has a
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

func TestALogMayLookAtConditions(t *testing.T) {
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
		t.Fatal("it waits for itself")
	}
	want := []string{"text=first", `text="of the log"`, "text=second", "cleared"}
	got := strings.Split(strings.TrimSpace(text.String()), "\n")
	if !slices.EqualFunc(got, want, strings.Contains) {
		t.Errorf("logged %q, want %q", got, want)
	}
}
