package conns

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/peer"
	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// stub is a connection on which nothing is read or written: the registry hears of what
// happens through the observer's methods, which the tests call.
type stub struct {
	net.Conn

	addr *net.TCPAddr
}

func (s stub) RemoteAddr() net.Addr { return s.addr }
func (s stub) LocalAddr() net.Addr  { return s.addr }
func (s stub) Close() error         { return nil }

func add(r *Registry, key string) *Conn {
	nc := r.Add(stub{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}, key)
	return FromAddr(nc.RemoteAddr())
}

func TestHandlerFindsItsConnection(t *testing.T) {
	r := NewRegistry(0)
	a, b := add(r, "k"), add(r, "k")
	rpc := func(c *Conn) context.Context {
		return peer.NewContext(t.Context(), &peer.Peer{Addr: c.h2.RemoteAddr()})
	}
	for _, c := range []*Conn{a, b} { // equal addresses, two connections
		if got, ok := FromContext(rpc(c)); got != c || !ok {
			t.Errorf("found %p, want %p", got, c)
		}
	}
	a.OnClose(h2conn.ByClient)
	if got, ok := FromContext(rpc(a)); got != nil || !ok {
		t.Errorf("found %p after it was closed", got)
	}
	if _, ok := FromContext(t.Context()); ok {
		t.Error("a context without a peer is no RPC's")
	}
	ctx := rpc(b)
	if n := testing.AllocsPerRun(1000, func() { FromContext(ctx) }); n != 0 {
		t.Errorf("%v allocations for a look-up", n)
	}
	b.OnClose(h2conn.ByClient)
}

func TestReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		a := add(r, "k")
		time.Sleep(time.Minute)
		if !a.markDraining(reason.Reach) || a.markDraining(reason.Reach) {
			t.Fatal("a connection is asked once")
		}
		time.Sleep(30 * time.Second)
		if b := add(r, "other"); b.returned {
			t.Error("another client's connection is no return")
		}
		if b := add(r, "k"); !b.returned {
			t.Error("the return within 45 s was not seen")
		}
		if b := add(r, "k"); b.returned {
			t.Error("one connection was asked, two returned")
		}
		c := add(r, "late")
		c.markDraining(reason.Age)
		c.OnClose(h2conn.Clean)
		time.Sleep(time.Minute)
		if b := add(r, "late"); b.returned {
			t.Error("a connection a minute later is no return")
		}
	})
}

func TestSweepForgetsClientsThatStayAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		c := add(r, "k")
		c.markDraining(reason.Reach)
		c.OnClose(h2conn.ByClient)
		r.Sweep()
		if r.Totals().Keys != 1 {
			t.Error("forgotten while its return is still owed")
		}
		time.Sleep(time.Minute)
		r.Sweep()
		if r.Totals().Keys != 0 {
			t.Error("not forgotten: a key for every client that ever came")
		}
	})
}

func TestLostCountsOnlyWhatLivesOn(t *testing.T) {
	r := NewRegistry(0)
	c := add(r, "k")
	c.OnLost(h2conn.ErrWrite)
	if r.Lost() != 0 {
		t.Error("a connection that its client closed counts as lost")
	}
	c.OnLost(h2conn.ErrPreface)
	if r.Lost() != 1 || r.Totals().Lost != 1 {
		t.Error("a client that speaks no HTTP/2 does not count")
	}
}

func TestSlowDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		c := add(r, "k")
		add(r, "k")
		c.markDraining(reason.Manual)
		time.Sleep(time.Minute)
		if n := r.Slow(2 * time.Minute); n != 0 {
			t.Errorf("%d slow after one minute", n)
		}
		if n := r.Slow(30 * time.Second); n != 1 {
			t.Errorf("%d slow, want the one that was asked", n)
		}
	})
}

// model is the registry told again in the plainest way.
type model struct {
	key     string
	leaving bool
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(0)
		live := map[*Conn]*model{}
		pick := func(t *rapid.T) *Conn {
			if len(live) == 0 {
				t.Skip("none")
			}
			return rapid.SampledFrom(r.Pick(ids(live))).Draw(t, "conn")
		}
		key := func(t *rapid.T) string { return fmt.Sprint("key-", rapid.IntRange(0, 3).Draw(t, "key")) }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) { k := key(t); live[add(r, k)] = &model{key: k} },
			"leave": func(t *rapid.T) {
				c := pick(t)
				if got := c.markDraining(reason.Reach); got == live[c].leaving {
					t.Errorf("asked: %v, was leaving: %v", got, live[c].leaving)
				}
				live[c].leaving = true
			},
			"server's goaway": func(t *rapid.T) { c := pick(t); c.OnGoAway(false); live[c].leaving = true },
			"set key":         func(t *rapid.T) { c, k := pick(t), key(t); c.SetKey(k); live[c].key = k },
			"close": func(t *rapid.T) {
				c := pick(t)
				c.OnClose(h2conn.ByClient)
				c.OnClose(h2conn.ByClient)
				delete(live, c)
			},
			"": func(t *rapid.T) { compare(t, r, live) },
		})
		for c := range live {
			c.OnClose(h2conn.ByClient)
		}
	})
}

func ids(live map[*Conn]*model) []uint64 {
	var out []uint64
	for c := range live {
		out = append(out, c.id)
	}
	return out
}

func compare(t *rapid.T, r *Registry, live map[*Conn]*model) {
	leaving, serving := 0, map[string]int{}
	for _, m := range live {
		if m.leaving {
			leaving++
		} else {
			serving[m.key]++
		}
	}
	tot := r.Totals()
	if tot.Connections != len(live) || tot.Draining != leaving || len(r.Serving()) != len(live)-leaving {
		t.Fatalf("totals %+v, want %d connections, %d leaving", tot, len(live), leaving)
	}
	got := map[string]int{}
	r.EachKey(func(key string, n int) bool { got[key] = n; return true })
	if fmt.Sprint(got) != fmt.Sprint(serving) {
		t.Fatalf("per key %v, want %v", got, serving)
	}
	var all []Info
	r.Each(func(i *Info) { all = append(all, *i) })
	if len(all) != len(live) {
		t.Fatalf("Each gave %d of %d", len(all), len(live))
	}
	for _, i := range all {
		if m := live[r.Pick([]uint64{i.ID})[0]]; m.key != i.Key || m.leaving != i.Draining {
			t.Fatalf("%+v, want %+v", i, *m)
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	r := NewRegistry(0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				c := add(r, fmt.Sprint(i%7))
				if i%3 == 0 {
					c.Drain(reason.Manual, "test", 0)
				}
				if g%2 == 0 {
					r.Totals()
					r.Sweep()
				}
				c.OnClose(h2conn.ByClient)
			}
		})
	}
	wg.Wait()
	if tot := r.Totals(); tot.Connections != 0 || tot.Draining != 0 || tot.Opened != 1600 {
		t.Errorf("%+v", tot)
	}
}

// closing is a connection that knows whether it was closed.
type closing struct {
	stub
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }

func TestCloseSilentByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		var closed [5]bool
		nc := func(i int) net.Conn {
			return closing{stub{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}, &closed[i]}
		}
		r.Add(nc(0), "a")
		shaken := r.Handshake(nc(1))
		ended := r.Handshake(nc(2))
		ended()
		time.Sleep(2 * time.Second)
		r.Add(nc(3), "a")
		defer r.Handshake(nc(4))()
		if n := r.CloseSilent(time.Second); n != 2 || closed != [5]bool{true, true} {
			t.Errorf("%d closed: %v", n, closed)
		}
		shaken()
		if n := r.CloseSilent(time.Second); n != 0 {
			t.Errorf("%d closed again", n)
		}
	})
}
