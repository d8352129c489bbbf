package conns

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func TestReturnsOfEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		for range 3 {
			add(r, "k")
		}
		for _, c := range r.Serving() {
			c.markDraining(reason.Even)
		}
		add(r, "other").markDraining(reason.Age)
		time.Sleep(time.Second)
		add(r, "k")
		add(r, "other")
		if got, want := r.Returns(), (Returns{Drained: 3, Returned: 1}); got != want {
			t.Errorf("within 45 s: %+v, want %+v", got, want)
		}
		time.Sleep(returnWindow)
		add(r, "k") // too late
		r.Sweep()
		if got, want := r.Returns(), (Returns{Drained: 3, Returned: 1, Away: 2}); got != want {
			t.Errorf("after 45 s: %+v, want %+v", got, want)
		}
	})
}

// The older drains of a client must settle even while newer ones follow.
func TestOldDrainsSettleWhileNewOnesFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		for range 100 {
			add(r, "k")
		}
		for _, c := range r.Serving() {
			c.markDraining(reason.Even)
			time.Sleep(time.Second)
			r.Sweep()
		}
		if got := r.Returns(); got.Drained != 100 || got.Away != 55 || got.Returned != 0 {
			t.Errorf("%+v, want 100 drained, 55 away and 0 returned", got)
		}
	})
}

func TestReturnIsCreditedToTheLatestReason(t *testing.T) {
	r := NewRegistry(0)
	a, b := add(r, "k"), add(r, "k")
	a.markDraining(reason.Even)
	b.markDraining(reason.Age)
	add(r, "k")
	if got := r.Returns(); got.Returned != 0 {
		t.Errorf("%+v, want 0 returned: the latest drain was for age", got)
	}
	add(r, "k")
	if got := r.Returns(); got.Returned != 1 {
		t.Errorf("%+v, want 1 returned: only the drain for evenness was pending", got)
	}
}

func TestSetKeyCountsTheReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		old := add(r, "gateway")
		a := add(r, "gateway")
		a.SetKey("tenant")
		time.Sleep(time.Minute)
		a.markDraining(reason.Even)
		old.SetKey("tenant")
		if old.returned {
			t.Error("a connection from before the drain counts as a return")
		}
		b := add(r, "gateway")
		b.SetKey("tenant")
		if got := r.Returns(); got.Returned != 1 || !b.returned {
			t.Errorf("%+v, want 1 returned", got)
		}
		if c := add(r, "gateway"); infoOf(r, c).Named || !infoOf(r, b).Named {
			t.Error("Named must be true exactly for a key that SetKey set")
		}
	})
}

func TestFutileDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		c := add(r, "k")
		move := func(back bool) {
			c.markDraining(reason.Even)
			c.OnClose(h2conn.Clean)
			if !back {
				time.Sleep(returnWindow + time.Second)
				r.Sweep()
			}
			c = add(r, "k")
		}
		want := func(n int) {
			t.Helper()
			if i := infoOf(r, c); i.FutileDrains != n {
				t.Errorf("%d futile drains, want %d", i.FutileDrains, n)
			}
		}
		other := add(r, "k") // keeps the key
		want(0)
		for range 18 {
			move(true)
		}
		want(9) // two connections
		other.OnClose(h2conn.ByClient)
		want(18)
		other = add(r, "k")
		c.markDraining(reason.Even)
		c.OnClose(h2conn.Clean)
		if i := infoOf(r, other); i.FutileDrains != 18 {
			t.Errorf("%d futile drains, want 18: the outcome of the last drain is open", i.FutileDrains)
		}
		c = add(r, "k")
		want(19 / 2)
		move(false)
		move(false)
		want(19 / 2) // 19 of 21 came back
		move(false)
		want(0)
		for range 1000 {
			move(true)
		}
		if h := c.key.Load().history; h.settled > maxSettled || h.returned > h.settled || infoOf(r, c).FutileDrains < maxSettled/4 {
			t.Errorf("history after 1000 drains: %+v", *h)
		}
	})
}

// TestDrainsAgainstModel checks that every drain has one outcome, and that nothing is kept
// of clients that are gone.
func TestDrainsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(0)
		var drained uint64
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) { add(r, fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "key"))) },
			"drain": func(t *rapid.T) {
				all := r.Serving()
				if len(all) == 0 {
					t.Skip("no connection")
				}
				why := rapid.SampledFrom([]reason.Reason{reason.Even, reason.Age}).Draw(t, "why")
				c := rapid.SampledFrom(all).Draw(t, "conn")
				c.markDraining(why)
				if why == reason.Even {
					drained++
				}
				if rapid.Bool().Draw(t, "close at once") {
					c.OnClose(h2conn.Clean)
				}
			},
			"wait": func(t *rapid.T) {
				wait(r, time.Duration(rapid.IntRange(1, 60).Draw(t, "s"))*time.Second)
			},
			"sweep": func(*rapid.T) { r.Sweep() },
			"": func(t *rapid.T) {
				if got := r.Returns(); got.Drained != drained || got.Returned+got.Away > drained {
					t.Fatalf("%+v after %d drains", got, drained)
				}
			},
		})
		wait(r, returnWindow+1)
		r.Sweep()
		if got := r.Returns(); got.Returned+got.Away != drained {
			t.Fatalf("%+v, want an outcome for each of %d drains", got, drained)
		}
		r.Each(func(i *Info) {
			if k := r.keys[i.Key]; k.pending() || k.history != nil && (k.history.even.returned+k.history.rest.returned) > 0 {
				t.Fatalf("key %s has open outcomes: %+v", i.Key, *k.history)
			}
		})
		for len(r.all.list) > 0 {
			r.all.list[0].OnClose(h2conn.ByClient)
		}
		if tot := r.Totals(); tot.Keys != 0 || len(r.drains.drains) != 0 {
			t.Fatalf("%+v and %d drains are left, want none", tot, len(r.drains.drains))
		}
	})
}

// Health checks from the address of clients that were drained, kubelet's or a load
// balancer's, are not the return of these clients. Nor is a connection on which nobody speaks.
func TestProbesAreNoReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		clients := make([]*Conn, 10) // behind one address; they move elsewhere
		for i := range clients {
			clients[i] = add(r, "lb")
		}
		for i, c := range clients {
			c.markDraining(reason.Even)
			c.OnClose(h2conn.Clean)
			time.Sleep(2 * time.Second)
			silent := arrive(r, "lb")
			probe := arrive(r, "lb")
			probe.OnUse(h2conn.Ready)
			probe.OnUse(h2conn.Probed)
			if n := r.Loads().Connections; probe.returned || n != len(clients)-i-1 {
				t.Fatalf("a health check counts as a return: %t, or as load: %d", probe.returned, n)
			}
			for _, c := range []*Conn{silent, probe} {
				c.OnClose(h2conn.ByClient)
			}
		}
		time.Sleep(returnWindow + 1)
		r.Sweep()
		if got, want := r.Returns(), (Returns{Drained: 10, Away: 10}); got != want {
			t.Errorf("returns are %+v, want %+v", got, want)
		}
		stay := add(r, "lb")
		if i := infoOf(r, stay); i.FutileDrains != 0 || i.Returned {
			t.Errorf("the client counts as pinned: %+v", i)
		}
	})
}

// An idle round_robin client redials at once and has no call to make. Its connection is back,
// so the client is multi-homed, but nothing is known yet of where its calls go.
func TestIdleClientsReturnForReachAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		add(r, "k").markDraining(reason.Even)
		first, second := arrive(r, "k"), arrive(r, "k")
		for _, c := range []*Conn{first, second} {
			c.OnUse(h2conn.Ready)
		}
		if !first.returned || second.returned || r.Returns().Returned != 0 {
			t.Errorf("one drain makes %t and %t returns, and %+v", first.returned, second.returned, r.Returns())
		}
		first.OnClose(h2conn.ByClient)
		second.OnUse(h2conn.InUse)
		if !second.returned || r.Returns().Returned != 1 {
			t.Errorf("a call on the second connection makes no return: %+v", r.Returns())
		}
	})
}

// An idle round_robin client comes back without a call, in one growth after the other, whether
// or not it closes its drained connections itself.
func TestIdleChannelsReturnInEveryGrowth(t *testing.T) {
	for _, closes := range []time.Duration{0, 6 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := NewRegistry(0)
			var channels [10]*Conn
			for i := range channels {
				channels[i] = ready(r, "k")
			}
			for growth := range 3 {
				for i, old := range channels {
					old.markDraining(reason.Reach)
					time.AfterFunc(closes, func() { old.OnClose(h2conn.Clean) })
					synctest.Wait()
					if channels[i] = ready(r, "k"); !channels[i].returned {
						t.Errorf("closed after %v: in growth %d, channel %d did not come back", closes, growth, i)
					}
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(time.Hour)
				r.Sweep()
			}
		})
	}
}

// ready adds a connection whose client has no call to make yet.
func ready(r *Registry, key string) *Conn {
	c := arrive(r, key)
	c.OnUse(h2conn.Ready)
	return c
}

// A connection from before the drain does not come back, even if its client calls only now.
func TestOldConnectionsAreNoReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		idle, busy := ready(r, "nat"), add(r, "nat")
		time.Sleep(time.Hour)
		busy.markDraining(reason.Even)
		time.Sleep(time.Second)
		idle.OnUse(h2conn.InUse)
		if idle.returned || r.Returns().Returned != 0 {
			t.Errorf("a connection from before the drain counts as a return: %+v", r.Returns())
		}
	})
}

// A client may have sent its first call before it read the GOAWAY.
func TestFirstCallOnADrainedConnectionIsNoReturn(t *testing.T) {
	r := NewRegistry(0)
	old := ready(r, "k")
	old.markDraining(reason.Even)
	old.OnUse(h2conn.InUse)
	if r.Returns().Returned != 0 {
		t.Errorf("a call on the drained connection counts as a return: %+v", r.Returns())
	}
	if back := add(r, "k"); !back.returned || r.Returns().Returned != 1 {
		t.Errorf("the return does not count: %+v", r.Returns())
	}
}

// Where handlers set keys, a new connection may be a return of either key.
func TestReturnOfTheKeyThatAHandlerSets(t *testing.T) {
	r := NewRegistry(0)
	ready(r, "nat").markDraining(reason.Age)
	tenant := add(r, "nat")
	tenant.SetKey("tenant")
	tenant.markDraining(reason.Even)
	back := add(r, "nat")
	back.SetKey("tenant")
	if r.Returns().Returned != 1 {
		t.Errorf("the tenant has come back: %+v", r.Returns())
	}
}
