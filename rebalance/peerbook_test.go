package rebalance

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

// asker returns a Balancer that does not run, for a test that lets it ask by hand. It is
// the pod at 127.0.0.1.
func asker(t *testing.T, change func(*config.Config), members ...peers.Member) *Balancer {
	t.Helper()
	cfg := config.Default()
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg, WithPeers(&hand{}), WithSelf("pod-a", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.peers.close)
	b.peers.poller.Deadline = 4 * time.Second // a busy machine is no fault of a peer's
	seeMembers(b, members...)
	b.targetsLocked() // makes the book
	return b
}

// seeMembers lets a Balancer see itself and members.
func seeMembers(b *Balancer, members ...peers.Member) {
	self := peers.Member{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Port: 1}
	b.onMembership(peers.Membership{Members: append([]peers.Member{self}, members...)})
}

// serveAt serves h on a port of host until the test ends.
func serveAt(t *testing.T, host string, port int, h http.Handler) (at netip.AddrPort, stop func()) {
	t.Helper()
	return serveTLSAt(t, host, port, h, nil)
}

func serveTLSAt(t *testing.T, host string, port int, h http.Handler, cfg *tls.Config) (at netip.AddrPort, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		t.Skip("no more loopback addresses: ", err)
	}
	at = netip.MustParseAddrPort(ln.Addr().String())
	if cfg != nil {
		ln = tls.NewListener(ln, cfg)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	stop = func() { _ = srv.Close(); <-done }
	t.Cleanup(stop)
	return at, stop
}

// podAt is a member that answers at the given place.
func podAt(pod string, at ...netip.AddrPort) peers.Member {
	m := peers.Member{Pod: pod, Port: int(at[0].Port())}
	for _, a := range at {
		m.Addrs = append(m.Addrs, a.Addr())
	}
	return m
}

func telling(rep peerz.Report) http.Handler {
	return peerz.Handler(func([]string) peerz.Report { return rep })
}

func wantErrors(t *testing.T, b *Balancer, want map[string]uint64) {
	t.Helper()
	if got := b.peers.errorCounts(); !maps.Equal(got, want) {
		t.Errorf("errors %v, want %v", got, want)
	}
}

// manyMembers are n pods, more than there are addresses in a /24.
func manyMembers(n int) []peers.Member {
	out := make([]peers.Member, n)
	for i := range out {
		out[i] = peers.Member{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})}, Port: 8080}
	}
	return out
}

func TestFewAreAllAskedAndOfManyAHandful(t *testing.T) {
	if pollHandful != 8 || pollAll != 32 {
		t.Error("health's TestBytesOfAFleet counts on other numbers")
	}
	for n, want := range map[int]int{0: 0, 1: 1, 32: 32, 33: 8, 1000: 8} {
		b := asker(t, nil, manyMembers(n)...)
		now, through := b.peers.turnLocked(b.targetsLocked())
		if len(now) != want || through != (n <= 32) {
			t.Errorf("of %d peers %d are asked, want %d; through: %v", n, len(now), want, through)
		}
	}
}

// Nobody is asked twice before everybody was asked once, in an order of chance; who comes
// or goes meanwhile is not lost.
func TestEverybodyHasATurn(t *testing.T) {
	b := asker(t, nil, manyMembers(1000)...)
	walk := func(n int) (order []string) {
		asked := map[string]int{}
		for through := false; !through; {
			var now []target
			now, through = b.peers.turnLocked(b.targetsLocked())
			for _, one := range now {
				asked[one.id]++
				order = append(order, one.id)
			}
		}
		for id, times := range asked {
			if times != 1 {
				t.Errorf("%s was asked %d times", id, times)
			}
		}
		if len(asked) != n {
			t.Errorf("%d of %d were asked", len(asked), n)
		}
		return order
	}
	first, second := walk(1000), walk(1000)
	if slices.Equal(first, second) || slices.IsSorted(first) {
		t.Error("the order is not one of chance")
	}
	b.peers.turnLocked(b.targetsLocked())
	seeMembers(b, manyMembers(500)...)
	for through := false; !through; { // what is left of the walk over 1000
		_, through = b.peers.turnLocked(b.targetsLocked())
	}
	walk(500)
	seeMembers(b, manyMembers(10)...)
	if now, through := b.peers.turnLocked(b.targetsLocked()); len(now) != 10 || !through {
		t.Errorf("of 10 peers %d are asked", len(now))
	}
}

// With a view of those alone that were asked first, the others would be a growth, and then
// another.
func TestNoViewBeforeAllUnprovenPodsWereAsked(t *testing.T) {
	for n, polls := range map[int]int{32: 1, 33: 5, 100: 13} {
		members := make([]peers.Member, n)
		for i := range members {
			members[i] = peers.Member{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 1, 0, byte(i + 1)})}, Port: 1, Unproven: true}
		}
		b := asker(t, nil, members...)
		for i := range polls + 1 {
			if seen, _, _ := b.peers.membership(); (len(seen) == n+1) != (i == polls) {
				t.Errorf("of %d, after %d polls: a view of %d", n, i, len(seen))
			}
			b.poll(t.Context())
		}
	}
}

// Pods that must prove that they serve are members from one turn to the next, however
// many there are; with none asked yet there is no view, and not a growth in each second.
func TestManyUnprovenPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		b := asker(t, nil)
		members := manyMembers(n)
		for i := range members {
			members[i].Unproven = true
		}
		seeMembers(b, members...)
		b.peers.client.Timeout = time.Nanosecond // nobody is there
		walk := (n + pollHandful - 1) / pollHandful
		for i := range 3 * walk {
			seen, _, _ := b.peers.membership()
			if through := i >= walk; (len(seen) == n+1) != through {
				t.Fatalf("after %d polls there are %d members", i, len(seen))
			}
			now, through := b.peers.turnLocked(b.targetsLocked())
			for _, one := range now {
				b.peers.book(one.id, peerz.Report{Ready: true}, nil)
			}
			b.peers.polled = b.peers.polled || through
			time.Sleep(pollEvery)
			for _, m := range members {
				if _, fresh := b.peers.fresh(m.Addrs[0].String()); i >= walk && !fresh {
					t.Fatalf("after %d polls %v is no member any more", i, m.Addrs)
				}
			}
		}
		time.Sleep(time.Minute)
		if _, fresh := b.peers.fresh(members[0].Addrs[0].String()); fresh {
			t.Error("a pod that has been silent for a minute counts as a member")
		}
	})
}

// A pod that stops says so and is gone: as long as a DNS answer still lists it, it must not
// come back as one that has grown.
func TestWhoStopsDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := asker(t, nil, manyMembers(1)...)
		serves := func() bool {
			all, _ := b.members()
			return len(all) == 2
		}
		b.peers.book("198.18.0.0", peerz.Report{Pod: "b", UptimeMillis: 9, Ready: true}, nil)
		if !serves() {
			t.Fatal("no member at first")
		}
		b.peers.book("198.18.0.0", peerz.Report{Pod: "b", UptimeMillis: 9}, nil)
		for range 59 {
			time.Sleep(time.Second)
			seeMembers(b, manyMembers(1)...) // renewed
			b.peers.book("198.18.0.0", peerz.Report{}, context.DeadlineExceeded)
			if serves() {
				t.Fatal("a member again though it has stopped")
			}
		}
		b.peers.book("198.18.0.0", peerz.Report{Pod: "b", UptimeMillis: 1, Ready: true}, nil)
		if !serves() || len(b.peers.restarted()) != 1 {
			t.Error("a new one at its address is no member")
		}
	})
}

// Of many, one question in a round of minutes that has no answer is no news.
func TestWhoIsSilent(t *testing.T) {
	for n, want := range map[int]bool{32: true, 100: false} {
		b := asker(t, nil, manyMembers(n)...)
		for _, m := range manyMembers(n) {
			b.peers.book(m.Addrs[0].String(), peerz.Report{Ready: true}, nil)
		}
		b.peers.book("198.18.0.0", peerz.Report{}, context.DeadlineExceeded)
		if got := b.silentText() != ""; got != want {
			t.Errorf("of %d, one question failed: said %v", n, got)
		}
		b.peers.book("198.18.0.0", peerz.Report{}, context.DeadlineExceeded)
		if b.silentText() == "" {
			t.Errorf("of %d, two failed: nothing is said", n)
		}
	}
}

func TestPeersTellOfTheirLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members := manyMembers(9)
		members[5].Terminating = true
		members[6].Unproven = true
		b := asker(t, nil, members...)
		id := func(i int) string { return members[i].Addrs[0].String() }
		book := func(i int, rep peerz.Report, err error) {
			rep.Pod, rep.Ready = id(i), i != 7
			b.peers.book(id(i), rep, err)
		}
		loads := map[string]float64{config.WeightConnections: 7, config.WeightRequests: 0.5}
		book(6, peerz.Report{Loads: loads}, nil)
		time.Sleep(20 * time.Second)
		book(0, peerz.Report{Loads: loads, Reaching: true}, nil)
		time.Sleep(30 * time.Second)
		book(1, peerz.Report{Connections: 9, Draining: 2}, nil)                   // an old version
		book(2, peerz.Report{Connections: 9, Draining: 2, Overloaded: true}, nil) // another
		book(3, peerz.Report{Loads: loads}, nil)
		book(3, peerz.Report{}, &peerz.Error{Class: peerz.Timeout, Err: context.DeadlineExceeded})
		book(5, peerz.Report{Loads: loads}, nil)
		book(7, peerz.Report{Loads: loads}, nil)
		time.Sleep(10 * time.Second)

		want := []plan.Peer{
			{Pod: id(0), Age: 40 * time.Second, Load: 7, Reaching: true},
			{Pod: id(1), Age: 10 * time.Second, Load: 7},
			{Pod: id(2), Age: 10 * time.Second, Load: 7, Overloaded: true},
			{Pod: id(3), Age: 10 * time.Second, Load: 7},
		}
		if got := b.peers.peers(config.WeightConnections, "127.0.0.1"); !slices.Equal(got, want) {
			t.Errorf("by connections\n%+v, want\n%+v", got, want)
		}
		if got := b.peers.peers(config.WeightConnections, id(0)); !slices.Equal(got, want[1:]) {
			t.Errorf("seen by %s: %+v", id(0), got)
		}
		want[0].Load, want[3].Load = 0.5, 0.5
		if got := b.peers.peers(config.WeightRequests, "127.0.0.1"); !slices.Equal(got, []plan.Peer{want[0], want[3]}) {
			t.Errorf("by requests %+v: of old versions nothing is known", got)
		}
		if got := b.peers.peers("of later", "127.0.0.1"); len(got) != 0 {
			t.Errorf("by a weight that nobody measures: %+v", got)
		}
		time.Sleep(20 * time.Second)
		if got := b.peers.peers(config.WeightConnections, "127.0.0.1"); len(got) != 4 || got[0].Age != time.Minute {
			t.Errorf("after a minute: %+v", got)
		}
		time.Sleep(time.Millisecond)
		if got := b.peers.peers(config.WeightConnections, "127.0.0.1"); len(got) != 3 {
			t.Errorf("after more than a minute: %+v", got)
		}
		seeMembers(b, members[:2]...)
		if got := b.peers.peers(config.WeightConnections, "127.0.0.1"); len(got) != 1 || got[0].Pod != id(1) {
			t.Errorf("of those that went: %+v", got)
		}
	})
}

// thousand is a Balancer that has heard of 1,000 peers.
func thousand(tb testing.TB) *Balancer {
	tb.Helper()
	b, err := New(config.Default(), WithPeers(&hand{}), WithSelf("pod-a", "127.0.0.1"))
	if err != nil {
		tb.Fatal(err)
	}
	members := manyMembers(1000)
	seeMembers(b, members...)
	b.targetsLocked()
	for _, m := range members {
		b.peers.book(m.Addrs[0].String(), peerz.Report{Ready: true, Loads: map[string]float64{config.WeightConnections: 1}}, nil)
	}
	return b
}

func TestLoadsOfPeersCostNoMemory(t *testing.T) {
	b := thousand(t)
	if n := testing.AllocsPerRun(10, func() {
		if len(b.peers.peers(config.WeightConnections, "127.0.0.1")) != 1000 {
			t.Error("not all")
		}
	}); n != 0 {
		t.Errorf("%v allocations at each look", n)
	}
}

func BenchmarkPeers1000(b *testing.B) {
	bal := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		bal.peers.peers(config.WeightConnections, "127.0.0.1")
	}
}

func TestWhatIsARestart(t *testing.T) {
	const minute = 60_000
	old := peerz.Report{Pod: "b", UptimeMillis: 10 * minute, Generation: 7}
	for name, tc := range map[string]struct {
		next    peerz.Report
		restart bool
	}{
		"goes on":                      {peerz.Report{Pod: "b", UptimeMillis: 11 * minute, Generation: 7}, false},
		"grows":                        {peerz.Report{Pod: "b", UptimeMillis: 11 * minute, Generation: 8}, false},
		"uptime falls":                 {peerz.Report{Pod: "b", UptimeMillis: 10*minute - 1, Generation: 7}, true},
		"generation falls":             {peerz.Report{Pod: "b", UptimeMillis: 11 * minute, Generation: 6}, true},
		"a new pod has the address":    {peerz.Report{Pod: "c", UptimeMillis: minute / 2}, true},
		"pods behind one address":      {peerz.Report{Pod: "c", UptimeMillis: 9 * minute}, false},
		"a new one behind one address": {peerz.Report{Pod: "c", UptimeMillis: minute + 1}, true}, // once, then it is older
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := asker(t, nil, manyMembers(1)...)
				b.peers.book("198.18.0.0", old, nil)
				time.Sleep(time.Minute)
				b.peers.book("198.18.0.0", tc.next, nil)
				if got := len(b.peers.restarted()) == 1; got != tc.restart {
					t.Errorf("a restart: %v", got)
				}
			})
		})
	}
}

// A pod is asked where it answered last, and at its next address after a failure.
func TestPodsOfSeveralAddresses(t *testing.T) {
	rep := peerz.Report{Pod: "b", Ready: true, Connections: 3}
	at3, stop3 := serveAt(t, "127.0.0.3", 0, telling(rep))
	at2 := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at3.Port())
	b := asker(t, nil, podAt("b", at3, at2))
	polls := func(n, failures int) {
		t.Helper()
		before := b.peers.errorCounts()[peerz.Refused]
		for range n {
			b.poll(t.Context())
		}
		if got := b.peers.errorCounts()[peerz.Refused] - before; got != uint64(failures) {
			t.Errorf("%d of %d polls failed, want %d", got, n, failures)
		}
	}
	polls(1, 1) // at the lowest
	if _, ok := b.peers.fresh("127.0.0.2"); ok {
		t.Fatal("an answer from where nobody is")
	}
	polls(3, 0) // the other one, and then on
	if got, ok := b.peers.fresh("127.0.0.2"); !ok || got.Connections != 3 {
		t.Errorf("report %+v, %v", got, ok)
	}
	where := targetOf(b, "127.0.0.2")
	if _, _, err := b.peers.askKeys(t.Context(), where, []string{"k"}); err != nil || where.at != at3 {
		t.Errorf("keys are asked at %v: %v", where.at, err)
	}

	stop3()
	_, _ = serveAt(t, "127.0.0.2", int(at2.Port()), telling(rep))
	if _, _, err := b.peers.askKeys(t.Context(), where, []string{"k"}); peerz.ClassOf(err) != peerz.Refused {
		t.Errorf("keys of who went: %v", err)
	}
	polls(3, 0) // it is known already
	// Two that fail at one address are one failure.
	gone := target{id: "127.0.0.2", at: at3}
	b.peers.tryNext(t.Context(), &gone, context.DeadlineExceeded)
	polls(1, 0)
}

func targetOf(b *Balancer, id string) target {
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	all := b.targetsLocked()
	return all[slices.IndexFunc(all, func(t target) bool { return t.id == id })]
}

// Another pod has the address now: neither its totals nor its keys are taken for those of
// the one that was asked.
func TestAnswersOfTheWrongPod(t *testing.T) {
	at, _ := serveAt(t, "127.0.0.2", 0, peerz.Handler(func(keys []string) peerz.Report {
		rep := peerz.Report{Pod: "c", Ready: true, Connections: 3, Keys: map[string]int{}}
		for _, key := range keys {
			rep.Keys[key] = 9
		}
		rep.SingleHomed = keys
		return rep
	}))
	b := asker(t, nil, podAt("b", at))
	b.poll(t.Context())
	wantErrors(t, b, map[string]uint64{peerz.WrongPod: 1})
	if got := b.peers.peers(config.WeightConnections, ""); len(got) != 0 {
		t.Errorf("its load is believed: %+v", got)
	}
	q := &plan.Query{Keys: map[string][]string{"127.0.0.2": {"k"}}}
	if got := b.peers.askAll(t.Context(), q, map[string]target{"127.0.0.2": targetOf(b, "127.0.0.2")}); len(got.ByPod)+len(got.SingleHomed) != 0 {
		t.Errorf("its keys are believed: %v", got)
	}
	wantErrors(t, b, map[string]uint64{peerz.WrongPod: 2})

	seeMembers(b, podAt("", at)) // a source that knows no names
	b.poll(t.Context())
	got := b.peers.askAll(t.Context(), q, map[string]target{"127.0.0.2": targetOf(b, "127.0.0.2")})
	if got.ByPod["127.0.0.2"]["k"] != 9 || !got.SingleHomed["k"] || len(b.peers.peers(config.WeightConnections, "")) != 1 {
		t.Errorf("keys %v, errors %v", got, b.peers.errorCounts())
	}
}

// Many keys are many requests: each has its time, and so has the whole.
func TestManyKeysHaveTheTimeThatTheyNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		slow := peerz.Handler(func(keys []string) peerz.Report {
			requests.Add(1)
			time.Sleep(askTimeout / 2)
			return peerz.Report{Pod: "b", Ready: true, Keys: map[string]int{keys[0]: 1}}
		})
		b := asker(t, nil, podAt("b", netip.MustParseAddrPort("127.0.0.2:9")))
		b.peers.client.Dial = pipeTo(t, slow)
		keys := make([]string, 5*peerz.MaxKeys)
		for i := range keys {
			keys[i] = clientIP(i)
		}
		counts, _, err := b.peers.askKeys(t.Context(), targetOf(b, "127.0.0.2"), keys)
		if err != nil || counts[keys[4*peerz.MaxKeys]] != 1 || requests.Load() != 5 {
			t.Errorf("%d requests, %v", requests.Load(), err)
		}
		b.peers.client.Close()
	})
}

// pipeTo lets a client of HTTP reach h without a network.
func pipeTo(t *testing.T, h http.Handler) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	srv := &http.Server{Handler: h}
	go srv.Serve(lis)
	t.Cleanup(func() { srv.Close() })
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return lis.DialContext(ctx) }
}

// Pods of one salt find each other's clients, by hashes that are not those without it.
func TestSalt(t *testing.T) {
	for _, tc := range []struct {
		ours, theirs string
		want         int
	}{{"", "", 1}, {"s", "s", 1}, {"s", "", 0}, {"", "s", 0}, {"s", "t", 0}} {
		other := asker(t, func(c *config.Config) { c.Peers.Salt = tc.theirs })
		client, server := net.Pipe()
		defer client.Close()
		defer other.reg.Add(server, "10.0.0.7").Close()
		var asked atomic.Value
		at, stop := serveAt(t, "127.0.0.2", 0, peerz.Handler(func(keys []string) peerz.Report {
			asked.Store(keys[0])
			return other.report(keys)
		}))
		b := asker(t, func(c *config.Config) { c.Peers.Salt = tc.ours }, podAt("pod-a", at))
		got, _, err := b.peers.askKeys(t.Context(), targetOf(b, "127.0.0.2"), []string{"10.0.0.7"})
		if err != nil || got["10.0.0.7"] != tc.want {
			t.Errorf("salts %q and %q: %v, %v, want %d", tc.ours, tc.theirs, got, err, tc.want)
		}
		if plain := asked.Load() == peerz.HashKey("10.0.0.7"); plain != (tc.ours == "") {
			t.Errorf("salt %q: asked for %v", tc.ours, asked.Load())
		}
		stop()
	}
}

// guarded is what health does with CheckPeer.
func guarded(b *Balancer) http.Handler {
	next := peerz.Handler(b.report)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := b.checkPeer(r.TLS); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestPeersThatTLSRefuses(t *testing.T) {
	ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
	ours := func(serverName string, by *certstest.CA, expired bool) func(*config.Config) {
		cert, key := by.Issue("pods.test", nil)
		if expired {
			cert, key = by.Issue("pods.test", certstest.Expired)
		}
		m := certstest.NewMount(t, cert, key, ca.PEM)
		return func(c *config.Config) {
			c.Peers.TLS = config.PeersTLS{Cert: m.Files.Cert, Key: m.Files.Key, CA: m.Files.CA, ServerName: serverName}
		}
	}
	good := ours("", ca, false)
	for name, tc := range map[string]struct {
		asks, answers func(*config.Config)
		want          string // part of the error; empty: none
	}{
		"good":             {good, good, ""},
		"by name":          {ours("pods.test", ca, false), good, ""},
		"another name":     {ours("of-others.test", ca, false), good, "of-others.test"},
		"expired server":   {good, ours("", ca, true), "expired"},
		"another CA's":     {good, ours("", other, false), "unknown authority"},
		"expired client":   {ours("", ca, true), good, `status 403: "tls: failed to verify certificate: x509: certificate has expired`},
		"client of other":  {ours("", other, false), good, `status 403: "tls: failed to verify certificate: x509: certificate signed by unknown`},
		"peer without TLS": {good, nil, "server gave HTTP response to HTTPS client"},
	} {
		t.Run(name, func(t *testing.T) {
			peer := asker(t, tc.answers)
			at, _ := serveTLSAt(t, "127.0.0.2", 0, guarded(peer), peer.peersTLS())
			b := asker(t, tc.asks, podAt("", at))
			b.poll(t.Context())
			_, told := b.peers.fresh("127.0.0.2")
			if told != (tc.want == "") {
				t.Errorf("has told: %v", told)
			}
			if tc.want == "" {
				wantErrors(t, b, nil)
				return
			}
			wantErrors(t, b, map[string]uint64{peerz.TLS: 1})
			if text := b.silentText(); !strings.Contains(text, tc.want) {
				t.Errorf("%q does not say %q", text, tc.want)
			}
		})
	}
}

func TestFilesOfTLSThatAreNotThere(t *testing.T) {
	cfg := config.Default()
	cfg.Peers.TLS = config.PeersTLS{Cert: "/nowhere/tls.crt", Key: "k", CA: "a"}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "peers.tls: open /nowhere/tls.crt") {
		t.Errorf("got %v", err)
	}
}
