package conns

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"google.golang.org/grpc/peer"
	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// stub is a connection on which nothing is read or written. The tests call the methods of
// the observer to simulate what happens on it.
type stub struct {
	net.Conn

	addr *net.TCPAddr
}

func (s stub) RemoteAddr() net.Addr { return s.addr }
func (s stub) LocalAddr() net.Addr  { return s.addr }
func (s stub) Close() error         { return nil }

// add adds a connection whose client has opened a stream.
func add(r *Registry, key string) *Conn {
	c := arrive(r, key)
	c.OnUse(h2conn.InUse)
	return c
}

// arrive adds a connection whose client has not spoken yet. As in a server, somebody holds
// it.
func arrive(r *Registry, key string) *Conn {
	nc := r.Add(stub{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}, key)
	c := FromAddr(nc.RemoteAddr())
	runtime.KeepAlive(nc)
	return c
}

func TestHandlerFindsItsConnection(t *testing.T) {
	r := NewRegistry(0)
	a, b := add(r, "k"), add(r, "k")
	rpc := func(c *Conn) context.Context {
		return peer.NewContext(t.Context(), &peer.Peer{Addr: c.wire.RemoteAddr()})
	}
	for _, c := range []*Conn{a, b} { // two connections with equal addresses
		if got, ok := FromContext(rpc(c)); got != c || !ok {
			t.Errorf("found %p, want %p", got, c)
		}
	}
	a.OnClose(h2conn.ByClient)
	if got, ok := FromContext(rpc(a)); got != nil || !ok {
		t.Errorf("found %p after it was closed, want nil", got)
	}
	if _, ok := FromContext(t.Context()); ok {
		t.Error("a context without a peer passed for that of an RPC")
	}
	ctx := rpc(b)
	if n := testing.AllocsPerRun(1000, func() { FromContext(ctx) }); n != 0 {
		t.Errorf("a lookup makes %v allocations, want 0", n)
	}
	b.OnClose(h2conn.ByClient)
}

func TestReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		a := add(r, "k")
		time.Sleep(time.Minute)
		if !a.markDraining(reason.Reach) || a.markDraining(reason.Reach) {
			t.Fatal("a connection must be drained exactly once")
		}
		time.Sleep(30 * time.Second)
		if b := add(r, "other"); b.returned {
			t.Error("another client's connection counts as a return")
		}
		if b := add(r, "k"); !b.returned {
			t.Error("a return within 45 s does not count")
		}
		if b := add(r, "k"); b.returned {
			t.Error("two connections count as returns after one drain")
		}
		c := add(r, "late")
		c.markDraining(reason.Age)
		c.OnClose(h2conn.Clean)
		time.Sleep(time.Minute)
		if b := add(r, "late"); b.returned {
			t.Error("a connection a minute later counts as a return")
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
			t.Error("the key was dropped while its return is pending")
		}
		time.Sleep(time.Minute)
		r.Sweep()
		if r.Totals().Keys != 0 {
			t.Error("the key was not dropped, so the registry would grow with every client")
		}
	})
}

func TestLostCountsOnlyConnectionsThatLive(t *testing.T) {
	r := NewRegistry(0)
	c := add(r, "k")
	c.OnLost(h2conn.ErrWrite)
	if r.Lost() != 0 {
		t.Error("a connection that is over counts as lost")
	}
	c.OnLost(h2conn.ErrFrame)
	if r.Lost() != 1 || r.Totals().Lost != 1 {
		t.Error("a connection that cannot be followed does not count as lost")
	}
	c.OnClose(h2conn.ByClient)
	if r.Lost() != 0 {
		t.Error("a connection that is closed counts as lost")
	}
}

// A cloud's health check may send an HTTP/1.1 request to the gRPC port.
func TestOtherProtocolsAreNotLost(t *testing.T) {
	r := NewRegistry(0)
	nc := r.Add(&wire{stub: stub{addr: &net.TCPAddr{}}, in: strings.NewReader("GET / HTTP/1.1\r\n\r\n")}, "k")
	_, _ = nc.Read(make([]byte, 100))
	want := Totals{NotHTTP2: 1}
	for range 2 {
		got := r.Totals()
		got.GoAways, got.Closed = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("totals %+v, want %+v", got, want)
		}
		_ = nc.Close()
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
			t.Errorf("%d connections drained more than 2 min ago, want 0 after one minute", n)
		}
		if n := r.Slow(30 * time.Second); n != 1 {
			t.Errorf("%d connections drained more than 30 s ago, want 1", n)
		}
	})
}

// model is one connection of the plainest possible registry.
type model struct {
	key      string
	draining bool
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(0)
		live := map[*Conn]*model{}
		pick := func(t *rapid.T) *Conn {
			if len(live) == 0 {
				t.Skip("no connection")
			}
			return rapid.SampledFrom(r.Pick(ids(live))).Draw(t, "conn")
		}
		key := func(t *rapid.T) string { return fmt.Sprint("key-", rapid.IntRange(0, 3).Draw(t, "key")) }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) { k := key(t); live[add(r, k)] = &model{key: k} },
			"drain": func(t *rapid.T) {
				c := pick(t)
				if got := c.markDraining(reason.Reach); got == live[c].draining {
					t.Errorf("markDraining returned %v, the connection was draining: %v", got, live[c].draining)
				}
				live[c].draining = true
			},
			"server's goaway": func(t *rapid.T) { c := pick(t); c.OnGoAway(false); live[c].draining = true },
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
	draining, serving := 0, map[string]int{}
	for _, m := range live {
		if m.draining {
			draining++
		} else {
			serving[m.key]++
		}
	}
	tot := r.Totals()
	if tot.Connections != len(live) || tot.Draining != draining || len(r.Serving()) != len(live)-draining {
		t.Fatalf("totals %+v, want %d connections, %d of them draining", tot, len(live), draining)
	}
	got := map[string]int{}
	r.EachKey(func(key string, n int) bool { got[key] = n; return true })
	if fmt.Sprint(got) != fmt.Sprint(serving) {
		t.Fatalf("connections per key are %v, want %v", got, serving)
	}
	var all []Info
	r.Each(func(i *Info) { all = append(all, *i) })
	if len(all) != len(live) {
		t.Fatalf("Each visited %d of %d connections", len(all), len(live))
	}
	for _, i := range all {
		if m := live[r.Pick([]uint64{i.ID})[0]]; m.key != i.Key || m.draining != i.Draining {
			t.Fatalf("Info is %+v, want %+v", i, *m)
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
		t.Errorf("totals %+v, want 1600 opened and none left", tot)
	}
}

// closing is a connection that records that it was closed.
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
		doneLater := r.Handshake(nc(1))
		r.Handshake(nc(2))() // done at once
		time.Sleep(2 * time.Second)
		r.Add(nc(3), "a")
		defer r.Handshake(nc(4))()
		if n := r.CloseSilent(time.Second); n != 2 || closed != [5]bool{true, true} {
			t.Errorf("closed %d connections: %v, want the first two", n, closed)
		}
		doneLater()
		if n := r.CloseSilent(time.Second); n != 0 {
			t.Errorf("closed %d connections a second time, want 0", n)
		}
	})
}

// grpc-go closes only the connection that it has accepted if credentials around these refuse
// the client, if TCP_USER_TIMEOUT cannot be set, or if a write fails early. It drops the
// wrapped one.
func TestDroppedConnectionsLeaveNothing(t *testing.T) {
	r := NewRegistry(0)
	addrs := make([]net.Addr, 100)
	for i := range addrs {
		addrs[i] = r.Add(stub{addr: &net.TCPAddr{Port: i}}, "k").RemoteAddr()
	}
	if tot := r.Totals(); tot.Connections != 0 || tot.Opened != 0 || tot.Keys != 0 {
		t.Errorf("connections on which nobody has spoken count: %+v", tot)
	}
	left := func() (n int) {
		for _, a := range addrs {
			s := shardOf(a)
			s.mu.Lock()
			if _, ok := s.m[a]; ok {
				n++
			}
			s.mu.Unlock()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return n + len(r.arriving)
	}
	for range 1000 {
		runtime.GC()
		if left() == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d traces are left of connections that were dropped, want none", left())
}

// The streams of a multiplexed session (yamux, smux) have one address, the same pointer.
// Their handlers must not drain each other's connections.
func TestConnectionsWithOneAddress(t *testing.T) {
	r := NewRegistry(0)
	for name, shared := range map[string]*net.TCPAddr{"shared": {IP: net.IPv4(127, 0, 0, 1), Port: 7}, "nil": nil} {
		var all []net.Conn
		for i := range 4 {
			nc := r.Add(stub{addr: shared}, "k")
			if i == 2 { // the first one is closed: the next must not be taken for it
				_ = all[0].Close()
			}
			all = append(all, nc)
		}
		seen := map[*Conn]bool{}
		for _, nc := range all[1:] {
			c := FromAddr(nc.RemoteAddr())
			if c == nil || seen[c] || c.wire != nc.(*h2conn.Conn) {
				t.Errorf("%s: a handler finds %p, which is not its connection", name, c)
			}
			seen[c] = true
			if got := nc.RemoteAddr().String(); name == "shared" && got != shared.String() {
				t.Errorf("%s: the address is %s, want %s", name, got, shared)
			}
		}
		if c := FromAddr(all[0].RemoteAddr()); c != nil {
			t.Errorf("%s: a handler of the closed connection finds another one", name)
		}
		for _, nc := range all {
			_ = nc.Close()
		}
	}
}

// An RPC whose connection has just been closed was tracked. grpc-go cancels its context a
// moment later.
func TestUntracked(t *testing.T) {
	r := NewRegistry(0)
	c := add(r, "k")
	rpc := peer.NewContext(t.Context(), &peer.Peer{Addr: c.wire.RemoteAddr()})
	other := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{}})
	canceled, cancel := context.WithCancel(other)
	cancel()
	for range 2 {
		if Untracked(rpc) || Untracked(t.Context()) || Untracked(canceled) {
			t.Error("an RPC of a tracked connection, none at all, or one that is over counts as untracked")
		}
		if !Untracked(other) || !Untracked(peer.NewContext(t.Context(), &peer.Peer{})) {
			t.Error("an RPC of another connection counts as tracked")
		}
		c.OnClose(h2conn.ByClient)
	}
}

// A listener of the user's own may have addresses of any type.
func TestAddressesThatAreNoKeys(t *testing.T) {
	rpc := peer.NewContext(t.Context(), &peer.Peer{Addr: listAddr{"a", "b"}})
	if c, ok := FromContext(rpc); c != nil || !ok || !Untracked(rpc) {
		t.Errorf("found %p, %t, untracked: %t", c, ok, Untracked(rpc))
	}
}

type listAddr []string

func (listAddr) Network() string { return "list" }
func (listAddr) String() string  { return "list" }

// A connection that cannot be drained stays load.
func TestLostConnectionsAreNotMarked(t *testing.T) {
	r := NewRegistry(0)
	nc := r.Add(&deaf{stub: stub{addr: &net.TCPAddr{}}, stuck: new(bool)}, "k")
	c := FromAddr(nc.RemoteAddr())
	c.OnUse(h2conn.InUse)
	_, _ = nc.Write([]byte("these bytes are no frame"))
	if c.Drain(reason.Even, "x", 0) || r.Brief().Draining != 0 || r.Loads().Connections != 1 || r.Brief().Lost != 1 {
		t.Errorf("%+v, %+v", r.Brief(), r.Loads())
	}
}

// Handlers may set the key with every RPC.
func TestSameKeyTakesNoLock(t *testing.T) {
	r := NewRegistry(0)
	c := add(r, "k")
	r.mu.Lock()
	defer r.mu.Unlock()
	c.SetKey("k") // would wait forever
}

// A client that watches the health of its own connections is no health checker.
func TestUseOf(t *testing.T) {
	for path, want := range map[string]h2conn.Use{
		"/grpc.health.v1.Health/Check":   h2conn.Probed,
		"/grpc.health.v1.Health/List":    h2conn.Probed,
		"/grpc.health.v1.Health/Watch":   h2conn.Ready,
		"/grpc.health.v1.Healthy/Check":  h2conn.InUse,
		"/hello.v1.HelloService/Hi":      h2conn.InUse,
		"/hello.v1.Health/Watch?grpc=v1": h2conn.InUse,
	} {
		if got := useOf(path); got != want {
			t.Errorf("%s makes a connection %v, want %v", path, got, want)
		}
	}
}

// A connection leaves the index with its own entry, and with no other's.
func TestIndexRemovesOnlyItsOwn(t *testing.T) {
	r := NewRegistry(0)
	a, b := add(r, "a"), add(r, "b")
	at := a.wire.RemoteAddr()
	indexRemove(at, weak.Make(b))
	if FromAddr(at) != a {
		t.Error("another connection's end has removed this one from the index")
	}
	a.OnClose(h2conn.Clean)
	b.OnClose(h2conn.Clean)
}
