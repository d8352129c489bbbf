package peerview

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/certs"
	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

func TestSmallFleetsArePolledWholeAndLargeOnesInHandfuls(t *testing.T) {
	if plan.PollHandful != 8 || plan.PollAll != 32 {
		t.Error("health's TestBytesOfAFleet expects other numbers")
	}
	for n, want := range map[int]int{0: 0, 1: 1, 32: 32, 33: 8, 1000: 8} {
		b := asker(t, nil, manyMembers(n)...)
		_, now, complete := b.due()
		if len(now) != want || complete != (n <= 32) {
			t.Errorf("%d of %d peers are polled, want %d; complete: %v", len(now), n, want, complete)
		}
	}
}

// With hints in force, evenness compares the pods of one zone. So this pod polls all of its own.
func TestMatesOfALargeFleetArePolledEverySecond(t *testing.T) {
	members := manyMembers(60)
	for i := range members {
		members[i].Zone = "zone-" + string(rune('a'+i%3))
	}
	self := peers.Member{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Port: 8080, Zone: "zone-a"}
	b := newcomer(t, nil)
	b.Update(peers.Membership{Members: append(members, self)})
	for range 3 {
		_, now, _ := b.due()
		mates := 0
		for _, one := range now {
			if i := slices.IndexFunc(members, func(m peers.Member) bool { return m.Addrs[0] == one.at.Addr() }); members[i].Zone == self.Zone {
				mates++
			}
		}
		if mates != 20 || len(now) != 28 {
			t.Errorf("%d pods are polled, %d of them mates; want 28 and 20", len(now), mates)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.poller.Concurrency < plan.PollAll+plan.PollHandful {
		t.Errorf("only %d pods are polled at the same time", b.poller.Concurrency)
	}
}

// walk polls until each pod has had its turn, and returns their order.
func walk(t *testing.T, b *Book, n int) (order []string) {
	t.Helper()
	polled := map[string]int{}
	for complete := false; !complete; {
		var now []target
		_, now, complete = b.due()
		for _, one := range now {
			polled[one.id]++
			order = append(order, one.id)
		}
	}
	for id, times := range polled {
		if times != 1 {
			t.Errorf("%s was polled %d times", id, times)
		}
	}
	if len(polled) != n {
		t.Errorf("%d of %d pods were polled", len(polled), n)
	}
	return order
}

// No pod is polled twice before each was polled once, in random order; pods that come or
// go meanwhile are not lost.
func TestEachPodHasItsTurn(t *testing.T) {
	b := asker(t, nil, manyMembers(1000)...)
	first, second := walk(t, b, 1000), walk(t, b, 1000)
	if slices.Equal(first, second) || slices.IsSorted(first) {
		t.Error("the order is not random")
	}
	b.due()
	seeMembers(b, manyMembers(500)...)
	for complete := false; !complete; { // what is left of the walk over 1000
		_, _, complete = b.due()
	}
	walk(t, b, 500)
	seeMembers(b, manyMembers(10)...)
	if _, now, complete := b.due(); len(now) != 10 || !complete {
		t.Errorf("%d of 10 peers are polled", len(now))
	}
}

// Pods that hang must not take the time of the others: those that failed come last.
func TestPodsThatFailedArePolledLast(t *testing.T) {
	b := asker(t, nil, manyMembers(30)...)
	failed := map[string]bool{}
	for i, m := range manyMembers(30) {
		if i%3 == 0 {
			failed[m.Addrs[0].String()] = true
			b.Record(m.Addrs[0].String(), peerz.Report{}, context.DeadlineExceeded)
		}
	}
	_, now, _ := b.due()
	for i, one := range now {
		if failed[one.id] != (i >= 20) {
			t.Errorf("place %d: %s, which failed: %v", i, one.id, failed[one.id])
		}
	}
}

// A pod is polled at the address where it answered last, and after a failure at its next one.
func TestPodsOfSeveralAddresses(t *testing.T) {
	rep := peerz.Report{Pod: "b", Ready: true, Connections: 3}
	at3, stop3 := serveAt(t, "127.0.0.3", 0, telling(rep))
	at2 := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at3.Port())
	b := asker(t, nil, podAt("b", at3, at2))
	poll := func(n, failures int) {
		t.Helper()
		before := b.Errors()[peerz.Refused]
		for range n {
			b.poll(t.Context())
		}
		if got := b.Errors()[peerz.Refused] - before; got != uint64(failures) {
			t.Errorf("%d of %d polls failed, want %d", got, n, failures)
		}
	}
	poll(1, 1) // at the lowest
	if _, ok := fresh(b, "127.0.0.2"); ok {
		t.Fatal("a report from an address where nobody listens")
	}
	poll(3, 0) // the other one, and then on
	if rows := b.Rows(""); rows[1].Connections != 3 || rows[1].Err != nil {
		t.Errorf("report %+v", rows[1])
	}
	where := targetOf(b, "127.0.0.2")
	if _, _, err := b.askKeys(t.Context(), where, []string{"k"}); err != nil || where.at != at3 {
		t.Errorf("keys are asked at %v: %v", where.at, err)
	}

	stop3()
	_, _ = serveAt(t, "127.0.0.2", int(at2.Port()), telling(rep))
	if _, _, err := b.askKeys(t.Context(), where, []string{"k"}); peerz.ClassOf(err) != peerz.Refused {
		t.Errorf("query of a pod that is gone: %v", err)
	}
	poll(3, 0) // the failure is known already
	// Two failures at one address count as one.
	gone := target{id: "127.0.0.2", at: at3}
	b.tryNext(t.Context(), &gone, context.DeadlineExceeded)
	poll(1, 0)
}

func targetOf(b *Book, id string) target {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.targetsLocked()
	return all[slices.IndexFunc(all, func(t target) bool { return t.id == id })]
}

func TestPeersThatTLSRefuses(t *testing.T) {
	ca, other := certstest.NewCA(t, "ca"), certstest.NewCA(t, "other")
	files := func(serverName string, by *certstest.CA, expired bool) *certs.Store {
		cert, key := by.Issue("pods.test", nil)
		if expired {
			cert, key = by.Issue("pods.test", certstest.Expired)
		}
		m := certstest.NewMount(t, cert, key, ca.PEM)
		store, err := certs.New(m.Files, serverName, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	good := files("", ca, false)
	for name, tc := range map[string]struct {
		asks, answers *certs.Store
		want          string // part of the error; empty: none
	}{
		"good":             {good, good, ""},
		"by name":          {files("pods.test", ca, false), good, ""},
		"another name":     {files("of-others.test", ca, false), good, "of-others.test"},
		"expired server":   {good, files("", ca, true), "expired"},
		"another CA's":     {good, files("", other, false), "unknown authority"},
		"expired client":   {files("", ca, true), good, `status 403: "tls: failed to verify certificate: x509: certificate has expired`},
		"client of other":  {files("", other, false), good, `status 403: "tls: failed to verify certificate: x509: certificate signed by unknown`},
		"peer without TLS": {good, nil, "server gave HTTP response to HTTPS client"},
	} {
		t.Run(name, func(t *testing.T) {
			at := answering(t, tc.answers)
			b := asker(t, func(o *Options) { o.TLS = tc.asks.Client }, podAt("", at))
			b.poll(t.Context())
			if _, reported := fresh(b, "127.0.0.2"); reported != (tc.want == "") {
				t.Errorf("has reported: %v", reported)
			}
			if tc.want == "" {
				wantErrors(t, b, nil)
				return
			}
			wantErrors(t, b, map[string]uint64{peerz.TLS: 1})
			if text := b.Silent(); !strings.Contains(text, tc.want) {
				t.Errorf("silent: %q, want %q in it", text, tc.want)
			}
		})
	}
}

// answering serves a pod as health does with peers.tls; nil: without TLS.
func answering(t *testing.T, store *certs.Store) netip.AddrPort {
	t.Helper()
	next := telling(peerz.Report{Pod: "pod-b", Ready: true})
	if store == nil {
		at, _ := serveAt(t, "127.0.0.2", 0, next)
		return at
	}
	at, _ := serveTLSAt(t, "127.0.0.2", 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := store.CheckClient(r.TLS); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	}), store.Server())
	return at
}

// Pods that hang do not take the time of the others: once they are known, the others are
// polled first, and all are polled.
func TestPodsThatHangDoNotTakeTheTimeOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialed := map[string]int{}
		var mu sync.Mutex
		b := asker(t, nil, manyMembers(32)...)
		b.poller.Deadline = 0
		b.client.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
			at := netip.MustParseAddrPort(addr)
			mu.Lock()
			defer mu.Unlock()
			dialed[at.Addr().String()]++
			ours, theirs := net.Pipe()
			go answerOnce(theirs, at.Addr().As4()[3] < 20)
			return ours, nil
		}
		for range 6 {
			b.poll(t.Context())
		}
		for _, row := range b.Rows("")[1:] {
			at := netip.MustParseAddrPort(row.Address).Addr()
			if hangs := at.As4()[3] < 20; hangs == row.Ready || dialed[at.String()] == 0 {
				t.Errorf("%+v, dialed %d times", row, dialed[at.String()])
			}
		}
		b.client.Close()
	})
}

// answerOnce answers one poll, or hangs until the other end gives up.
func answerOnce(c net.Conn, hang bool) {
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := http.ReadRequest(r); err != nil {
		return
	}
	if hang {
		_, _ = r.ReadByte()
		return
	}
	body := `{"pod":"p","ready":true,"uptimeMillis":1,"connections":1}`
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// A busy pod takes its time to answer, and must not fall silent because the fleet is large.
func TestBusyPodsOfLargerFleetsAnswerInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{8, 32} {
			b := asker(t, nil, manyMembers(n)...)
			b.poller.Deadline = 0
			b.client.Dial = func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					time.Sleep(900 * time.Millisecond)
					answerOnce(theirs, false)
				}()
				return ours, nil
			}
			begun := time.Now()
			b.poll(t.Context())
			if silent := b.Silent(); silent != "" || time.Since(begun) > time.Second {
				t.Errorf("%d pods that answer within 900 ms, polled for %v: %s", n, time.Since(begun), silent)
			}
			b.client.Close()
		}
	})
}
