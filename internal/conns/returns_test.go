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
			t.Errorf("%+v, want %+v", got, want)
		}
		time.Sleep(returnWindow)
		add(r, "k") // too late
		r.Sweep()
		if got, want := r.Returns(), (Returns{Drained: 3, Returned: 1, Away: 2}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

// A client that is asked all the time settles its older asks all the same.
func TestAwayWhileAsked(t *testing.T) {
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
			t.Errorf("%+v", got)
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
		t.Errorf("%+v: Age came later", got)
	}
	add(r, "k")
	if got := r.Returns(); got.Returned != 1 {
		t.Errorf("%+v: only the one of Even was owed", got)
	}
}

func TestSetKeyBooksTheReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		old := add(r, "gateway")
		a := add(r, "gateway")
		a.SetKey("tenant")
		time.Sleep(time.Minute)
		a.markDraining(reason.Even)
		old.SetKey("tenant")
		if old.returned {
			t.Error("it was there before its client was asked")
		}
		b := add(r, "gateway")
		b.SetKey("tenant")
		if got := r.Returns(); got.Returned != 1 || !b.returned {
			t.Errorf("%+v: the return was not seen", got)
		}
		if c := add(r, "gateway"); infoOf(r, c).Named || !infoOf(r, b).Named {
			t.Error("planning must know whose key a handler has given")
		}
	})
}

func TestFutile(t *testing.T) {
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
				t.Errorf("futile %d, want %d", i.FutileDrains, n)
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
			t.Errorf("futile %d, want 18: the last one's fate is not known", i.FutileDrains)
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
		if p := c.key.past; p.settled > maxSettled || p.returned > p.settled || infoOf(r, c).FutileDrains < maxSettled/4 {
			t.Errorf("%+v after a thousand", *p)
		}
	})
}

// TestAsksAgainstModel: every ask ends once, and nothing is kept of clients that are gone.
func TestAsksAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(0)
		var asked uint64
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) { add(r, fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "key"))) },
			"ask": func(t *rapid.T) {
				all := r.Serving()
				if len(all) == 0 {
					t.Skip("none")
				}
				why := rapid.SampledFrom([]reason.Reason{reason.Even, reason.Age}).Draw(t, "why")
				c := rapid.SampledFrom(all).Draw(t, "conn")
				c.markDraining(why)
				if why == reason.Even {
					asked++
				}
				if rapid.Bool().Draw(t, "at once") {
					c.OnClose(h2conn.Clean)
				}
			},
			"wait": func(t *rapid.T) {
				wait(r, time.Duration(rapid.IntRange(1, 60).Draw(t, "s"))*time.Second)
			},
			"sweep": func(*rapid.T) { r.Sweep() },
			"": func(t *rapid.T) {
				if got := r.Returns(); got.Drained != asked || got.Returned+got.Away > asked {
					t.Fatalf("%+v of %d", got, asked)
				}
			},
		})
		wait(r, returnWindow+1)
		r.Sweep()
		if got := r.Returns(); got.Returned+got.Away != asked {
			t.Fatalf("%+v: %d were asked", got, asked)
		}
		r.Each(func(i *Info) {
			if k := r.keys[i.Key]; k.owed() || k.past != nil && (k.past.evens.back+k.past.rest.back) > 0 {
				t.Fatalf("%s: %+v", i.Key, *k.past)
			}
		})
		for len(r.list) > 0 {
			r.list[0].OnClose(h2conn.ByClient)
		}
		if tot := r.Totals(); tot.Keys != 0 || len(r.asks.asks) != 0 {
			t.Fatalf("%+v and %d asks are left", tot, len(r.asks.asks))
		}
	})
}
