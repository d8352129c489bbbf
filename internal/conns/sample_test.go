package conns

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// reference keeps the averages of one connection as if every Sample visited it.
type reference struct {
	c                 *caller
	at                time.Duration
	sampled           bool
	opened            uint64
	requests, streams float64
}

// plainPart is the share of the latest d in an average over the whole age.
func plainPart(d, age, over time.Duration) float64 {
	return math.Expm1(-d.Seconds()/over.Seconds()) / math.Expm1(-age.Seconds()/over.Seconds())
}

func (r *reference) sample(now time.Duration) {
	open, opened := r.c.wire.Streams()
	age, d := now-r.c.opened, now-r.at
	switch {
	case !r.sampled:
		r.requests, r.streams = float64(opened)/max(age, youngest).Seconds(), float64(open)
	case d > 0:
		rate := float64(opened-r.opened) / d.Seconds()
		r.requests += plainPart(d, age, requestsOver) * (rate - r.requests)
		r.streams += plainPart(d, age, streamsOver) * (float64(open) - r.streams)
	}
	r.sampled, r.at, r.opened = true, now, opened
}

// Connections that Sample leaves alone have the same averages as if it did not, and it leaves
// alone each one in the end.
func TestAveragesOfConnectionsLeftAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(0)
		var live []*reference
		rested, woken := 0, 0
		pick := func(t *rapid.T) int {
			if len(live) == 0 {
				t.Skip("no connection")
			}
			return rapid.IntRange(0, len(live)-1).Draw(t, "conn")
		}
		sample := func(d time.Duration) {
			wait(r, d)
			before := len(r.active.list)
			r.Sample(nil)
			rested += before - len(r.active.list)
			for _, ref := range live {
				ref.sample(r.sampledAt)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) { live = append(live, &reference{c: addCaller(r, "k")}) },
			"call": func(t *rapid.T) {
				c := live[pick(t)].c
				if c.activePos < 0 {
					woken++
				}
				c.call(rapid.IntRange(1, 9).Draw(t, "streams"))
			},
			"end": func(t *rapid.T) { live[pick(t)].c.end() },
			"close": func(t *rapid.T) {
				i := pick(t)
				live[i].c.OnClose(h2conn.ByClient)
				live = append(live[:i], live[i+1:]...)
			},
			"sample": func(t *rapid.T) {
				sample(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			},
			"a long time": func(*rapid.T) {
				for range 100 {
					sample(10 * time.Second)
				}
				if n := len(r.active.list); n > 0 {
					t.Fatalf("%d connections without any news are still visited", n)
				}
			},
			"": func(t *rapid.T) {
				for _, ref := range live {
					i := infoOf(r, ref.c.Conn)
					if math.Abs(i.RequestRate-ref.requests) > 3e-6 || math.Abs(i.MeanStreams-ref.streams) > 3e-6 {
						t.Fatalf("%+v, want %v requests a second, %v streams", i, ref.requests, ref.streams)
					}
				}
				checkSums(t, r)
			},
		})
		for _, ref := range live {
			ref.c.OnClose(h2conn.ByClient)
		}
		if len(r.all.list)+len(r.active.list)+r.streams > 0 {
			t.Fatalf("%d connections, %d active, %d streams are left", len(r.all.list), len(r.active.list), r.streams)
		}
	})
}

// A tour visits each connection once that is there all the time.
func TestTour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := tour{pos: func(c *Conn) *int32 { return &c.pos }}
		present := map[*Conn]bool{} // those that this walk must visit
		var next uint64
		add := func() {
			next++
			tr.add(&Conn{id: next})
		}
		for range rapid.IntRange(0, 20).Draw(t, "at first") {
			add()
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) { add() },
			"remove": func(t *rapid.T) {
				if len(tr.list) == 0 {
					t.Skip("empty")
				}
				c := tr.list[rapid.IntRange(0, len(tr.list)-1).Draw(t, "conn")]
				if tr.visited(c) == present[c] {
					t.Fatalf("connection %d is visited: %t", c.id, tr.visited(c))
				}
				tr.remove(c)
				delete(present, c)
			},
			"next": func(t *rapid.T) {
				if tr.over() {
					if len(present) > 0 {
						t.Fatalf("the walk is over without %d connections", len(present))
					}
					tr.begin()
					for _, c := range tr.list {
						present[c] = true
					}
					return
				}
				c := tr.next()
				if !present[c] {
					t.Fatalf("connection %d is visited twice, or came later", c.id)
				}
				delete(present, c)
			},
			"": func(t *rapid.T) {
				for i, c := range tr.list {
					if int(c.pos) != i {
						t.Fatalf("connection %d is at %d and has position %d", c.id, i, c.pos)
					}
				}
			},
		})
	})
}

// A weight may change without a stream. So each connection of a crowd is weighed within ten
// Samples, and those with RPCs in each.
func TestEachConnectionIsWeighedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		for range 4 * weighedAtOnce {
			add(r, "k")
		}
		busy := addCaller(r, "busy")
		weight := 1.0
		weigh := func(*Info) float64 { return weight }
		for range 400 {
			time.Sleep(time.Second)
			r.Sample(weigh)
		}
		weight = 3
		for n := range weighedWithin {
			time.Sleep(time.Second)
			busy.call(1)
			r.Sample(weigh)
			if i := infoOf(r, busy.Conn); i.Weight != 3 {
				t.Fatalf("the busy connection weighs %v", i.Weight)
			}
			checkSums(t, r)
			if l := r.Loads(); n == 0 && l.Weight > 3*2*weighedAtOnce+2*weighedAtOnce {
				t.Errorf("%+v after one Sample, which should not have weighed all", l)
			}
		}
		if l := r.Loads(); l.Weight != 3*float64(l.Connections) {
			t.Errorf("%+v, want 3 for each connection", l)
		}
	})
}

// What rounding has done to the sums in a long time is gone within an hour.
func TestSumsAreRecounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		c := addCaller(r, "k")
		c.call(3)
		for range 10 {
			add(r, "k")
		}
		r.Sample(nil)
		r.sums.requests.add(1e-3)
		r.sums.weight.add(7)
		for range recountedWithin {
			time.Sleep(time.Second)
			r.Sample(nil)
		}
		checkSums(t, r)
	})
}

// Sample leaves the processor to others after each thousand connections that it visits.
func TestSamplePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		for range 3*pauseEvery + 1 {
			add(r, "k")
		}
		begun := r.Now()
		r.Sample(nil)
		if d := r.Now() - begun; d != 3*samplePause {
			t.Errorf("the pauses took %v, want %v", d, 3*samplePause)
		}
		begun = r.Now()
		r.Sample(nil)
		if d := r.Now() - begun; d != 0 {
			t.Errorf("without any news the pauses took %v, want none", d)
		}
	})
}

// checkFlight compares Flight and Slow with a visit of all connections. Between two Samples the
// streams may have ended.
func checkFlight(t tb, r *Registry, exact bool) {
	t.Helper()
	var want Flight
	slow := 0
	r.visit(func(c *Conn) {
		if c.drain == nil {
			return
		}
		if r.Now()-c.drain.since >= time.Minute {
			slow++
		}
		open, _ := c.wire.Streams()
		if open == 0 || c.use != h2conn.InUse {
			return
		}
		want.Streams += open
		want.Loads.Connections++
		want.Loads.Requests += c.load.requests
		want.Loads.Streams += c.load.streams
		want.Loads.Weight += c.load.weight
		want.Oldest = max(want.Oldest, r.Now()-c.drain.since)
	})
	got := r.Flight()
	if n := r.Slow(time.Minute); n != slow {
		t.Errorf("%d connections are slow, want %d", n, slow)
	}
	if exact && (got.Streams != want.Streams || got.Loads.Connections != want.Loads.Connections ||
		!near(got.Loads.Requests, want.Loads.Requests) || !near(got.Loads.Streams, want.Loads.Streams) ||
		!near(got.Loads.Weight, want.Loads.Weight) || (got.Oldest-want.Oldest).Abs() > time.Second) {
		t.Errorf("in flight is %+v, want %+v", got, want)
	}
}

func TestFlightAgainstRecount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(0)
		var live []*caller
		pick := func(t *rapid.T) int {
			if len(live) == 0 {
				t.Skip("no connection")
			}
			return rapid.IntRange(0, len(live)-1).Draw(t, "conn")
		}
		exact := true
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				c := addCaller(r, fmt.Sprint(len(live)%3))
				live = append(live, c)
				c.call(rapid.IntRange(0, 2).Draw(t, "streams"))
			},
			"call": func(t *rapid.T) {
				i := pick(t)
				exact = exact && live[i].drain == nil
				live[i].call(1)
			},
			"end": func(t *rapid.T) {
				i := pick(t)
				exact = exact && live[i].drain == nil
				live[i].end()
			},
			"drain": func(t *rapid.T) { live[pick(t)].markDraining(reason.Even) },
			"close": func(t *rapid.T) {
				i := pick(t)
				live[i].OnClose(h2conn.ByClient)
				live = append(live[:i], live[i+1:]...)
			},
			"sample": func(t *rapid.T) {
				wait(r, time.Duration(rapid.IntRange(0, 50_000).Draw(t, "ms"))*time.Millisecond)
				r.Sample(func(i *Info) float64 { return 1 + i.RequestRate + 3*i.MeanStreams })
				exact = true
			},
			"": func(t *rapid.T) { checkFlight(t, r, exact); checkSums(t, r) },
		})
		for _, c := range live {
			c.OnClose(h2conn.ByClient)
		}
		if f := r.Flight(); f != (Flight{}) || r.drained.first != nil || r.drained.last != nil {
			t.Fatalf("in flight without a connection is %+v", f)
		}
	})
}

// A health checker is not in flight, and neither is a connection whose streams have ended.
func TestFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		long, short, probe := addCaller(r, "long"), addCaller(r, "short"), addCaller(r, "probe")
		long.call(3)
		short.call(2)
		probe.use = h2conn.Probed
		for _, c := range []*caller{long, short, probe} {
			c.markDraining(reason.Reach)
			time.Sleep(time.Second)
		}
		want := func(when string, conns, streams int, oldest time.Duration) {
			t.Helper()
			if f := r.Flight(); f.Loads.Connections != conns || f.Streams != streams || f.Oldest != oldest {
				t.Errorf("%s: %+v, want %d connections, %d streams, %v", when, f, conns, streams, oldest)
			}
		}
		want("at once", 2, 5, 3*time.Second)
		short.end()
		r.Sample(nil)
		want("once streams have ended", 1, 3, 3*time.Second)
		for range 1000 {
			time.Sleep(time.Second)
			r.Sample(nil)
		}
		want("after a long rest", 1, 3, 1003*time.Second)
		if n := len(r.active.list); n != 0 {
			t.Errorf("%d connections without any news are still visited", n)
		}
		long.call(1)
		r.Sample(nil)
		want("after a late stream", 1, 4, 1003*time.Second)
		long.OnClose(h2conn.ByClient)
		want("after the end", 0, 0, 0)
	})
}
