package conns

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// caller is a client that opens and ends streams on its connection.
type caller struct {
	*Conn

	in   bytes.Buffer
	fr   *http2.Framer
	last uint32
	open []uint32
}

// wire is what the registry's connection reads from.
type wire struct {
	stub

	in io.Reader
}

func (w *wire) Read(p []byte) (int, error) { return w.in.Read(p) }

func addCaller(r *Registry, key string) *caller {
	c := &caller{}
	c.fr = http2.NewFramer(&c.in, nil)
	nc := r.Add(&wire{stub: stub{addr: &net.TCPAddr{}}, in: &c.in}, key)
	c.Conn = FromAddr(nc.RemoteAddr())
	c.in.WriteString(http2.ClientPreface)
	_ = c.fr.WriteSettings()
	c.flush()
	return c
}

// pathRoot is the header block of ":path: /".
var pathRoot = []byte{0x84}

// call opens n streams.
func (c *caller) call(n int) {
	for range n {
		c.last += 2
		c.open = append(c.open, c.last-1)
		_ = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: c.last - 1, EndHeaders: true, BlockFragment: pathRoot})
	}
	c.flush()
}

// end ends all open streams.
func (c *caller) end() {
	for _, id := range c.open {
		_ = c.fr.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	c.open = nil
	c.flush()
}

func (c *caller) flush() { _, _ = c.wire.(*h2conn.Conn).Read(make([]byte, c.in.Len())) }

// wait lets time pass where synctest cannot be used, since rapid sets a deadline.
func wait(r *Registry, d time.Duration) { r.epoch = r.epoch.Add(-d) }

func infoOf(r *Registry, c *Conn) (found Info) {
	r.Each(func(i *Info) {
		if i.ID == c.id {
			found = *i
		}
	})
	return found
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-9*max(1, math.Abs(want)) }

// A connection with a steady rate must have that rate from its first sample on. An average
// that starts from 0 would take a minute to get there.
func TestRateOfAYoungConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		c := addCaller(r, "k")
		if i := infoOf(r, c.Conn); i.Weight != 0 || i.RequestRate != 0 || r.Loads() != (Loads{}) {
			t.Errorf("before the first sample: %+v, %+v", i, r.Loads())
		}
		for range 120 {
			time.Sleep(time.Second)
			c.end()
			c.call(5)
			r.Sample(nil)
			if i := infoOf(r, c.Conn); !near(i.RequestRate, 5) || !near(i.MeanStreams, 5) {
				t.Fatalf("after %v: %+v, want 5 requests a second and 5 streams", r.Now(), i)
			}
		}
	})
}

// A connection has its first weight from its first call on, not from the next sample on.
func TestWeightFromTheFirstCall(t *testing.T) {
	r := NewRegistry(0)
	c := ready(r, "k")
	r.Sample(nil)
	c.OnUse(h2conn.InUse)
	if got, want := r.Loads(), (Loads{Connections: 1, Weight: 1}); got != want {
		t.Errorf("loads are %+v, want %+v", got, want)
	}
}

// A burst at the beginning must count only for the time that it took.
func TestRateAfterABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		c := addCaller(r, "k")
		calls := []int{600, 0, 1, 2, 0, 0, 5, 0, 0, 0}
		var sum, whole float64
		for i, n := range calls {
			time.Sleep(time.Second)
			c.call(n)
			c.end()
			r.Sample(nil)
			counts := math.Exp(-float64(len(calls)-i) / requestsOver.Seconds())
			sum += float64(n) * counts
			whole += counts
		}
		if i := infoOf(r, c.Conn); !near(i.RequestRate, sum/whole) {
			t.Errorf("%v streams per second, want %v", i.RequestRate, sum/whole)
		}
	})
}

// The first streams within a millisecond must not make a rate of thousands.
func TestRateOfANewConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(0)
		c := addCaller(r, "k")
		c.call(3)
		time.Sleep(time.Millisecond)
		r.Sample(nil)
		if i := infoOf(r, c.Conn); i.RequestRate != 3 || i.MeanStreams != 3 {
			t.Errorf("%+v, want 3 requests a second and 3 streams", i)
		}
	})
}

// After one time constant 1/e of the past must be left, whatever the time between samples.
func TestRateForgets(t *testing.T) {
	for _, step := range []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := NewRegistry(0)
			c := addCaller(r, "k")
			for range 2 * time.Hour / (10 * time.Second) {
				time.Sleep(10 * time.Second)
				c.end()
				c.call(100)
				r.Sample(nil)
			}
			c.end()
			for range requestsOver / step {
				time.Sleep(step)
				r.Sample(nil)
			}
			i := infoOf(r, c.Conn)
			if want := 10 / math.E; math.Abs(i.RequestRate-want) > 0.01*want {
				t.Errorf("with a sample every %v: %v streams per second, want %v", step, i.RequestRate, want)
			}
			want := 100 * math.Exp(-requestsOver.Seconds()/streamsOver.Seconds())
			if math.Abs(i.MeanStreams-want) > 0.01*want {
				t.Errorf("with a sample every %v: %v streams in flight, want %v", step, i.MeanStreams, want)
			}
			before := i
			r.Sample(nil) // at the same instant
			if i := infoOf(r, c.Conn); i != before {
				t.Errorf("a second sample at the same instant changed %+v to %+v", before, i)
			}
		})
	}
}

func TestInvalidWeightsCountAsZero(t *testing.T) {
	r := NewRegistry(0)
	add(r, "k")
	for _, w := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64} {
		r.Sample(func(*Info) float64 { return w })
		if l := r.Loads(); l != (Loads{Connections: 1}) {
			t.Errorf("loads with weight %v: %+v, want weight 0", w, l)
		}
	}
	// A huge weight must leave no trace once its connection is closed.
	b := add(r, "k")
	r.Sample(func(i *Info) float64 {
		if i.ID == b.id {
			return maxWeight
		}
		return 3
	})
	b.OnClose(h2conn.ByClient)
	r.Sample(func(*Info) float64 { return 3 })
	if l := r.Loads(); l.Weight != 3 {
		t.Errorf("loads %+v, want weight 3", l)
	}
}

// weigh is code of the user's: it may use the registry, close connections, and panic.
func TestWeighHoldsNoLock(t *testing.T) {
	r := NewRegistry(0)
	all := map[uint64]*Conn{}
	for range 3 * sampleBatch {
		c := add(r, "k")
		all[c.id] = c
	}
	seen := map[uint64]bool{}
	r.Sample(func(i *Info) float64 {
		r.Loads()
		seen[i.ID] = true
		for id, c := range all {
			if id%3 == 0 {
				c.OnClose(h2conn.ByClient)
				delete(all, id)
				break
			}
		}
		add(r, "new")
		return 2
	})
	for id := range all {
		if !seen[id] {
			t.Errorf("connection %d was not sampled, though it was open all the time", id)
		}
	}
	checkSums(t, r)
	func() {
		defer func() { _ = recover() }()
		n := 0
		r.Sample(func(i *Info) float64 {
			if n++; n > sampleBatch {
				panic("in the user's code")
			}
			r.Pick([]uint64{i.ID})[0].OnClose(h2conn.ByClient)
			return 5
		})
	}()
	checkSums(t, r) // must not wait forever for a lock
}

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
}

// checkSums compares Loads with sums over all connections.
func checkSums(t tb, r *Registry) {
	t.Helper()
	var want Loads
	r.Each(func(i *Info) {
		if !i.Draining && i.Use == h2conn.InUse {
			want.Connections++
			want.Requests += i.RequestRate
			want.Streams += i.MeanStreams
			want.Weight += i.Weight
		}
	})
	got := r.Loads()
	if got.Connections != want.Connections || !near(got.Requests, want.Requests) ||
		!near(got.Streams, want.Streams) || !near(got.Weight, want.Weight) {
		t.Errorf("loads are %+v, want %+v", got, want)
	}
}

func TestSumsAgainstRecount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewRegistry(0)
		var live []*caller
		pick := func(t *rapid.T) int {
			if len(live) == 0 {
				t.Skip("no connection")
			}
			return rapid.IntRange(0, len(live)-1).Draw(t, "conn")
		}
		t.Repeat(map[string]func(*rapid.T){
			"add":     func(t *rapid.T) { live = append(live, addCaller(r, fmt.Sprint(len(live)%3))) },
			"call":    func(t *rapid.T) { live[pick(t)].call(rapid.IntRange(1, 9).Draw(t, "streams")) },
			"end":     func(t *rapid.T) { live[pick(t)].end() },
			"drain":   func(t *rapid.T) { live[pick(t)].markDraining(reason.Even) },
			"set key": func(t *rapid.T) { live[pick(t)].SetKey("other") },
			"close": func(t *rapid.T) {
				i := pick(t)
				live[i].OnClose(h2conn.ByClient)
				live = append(live[:i], live[i+1:]...)
			},
			"sample": func(t *rapid.T) {
				wait(r, time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms"))*time.Millisecond)
				r.Sample(func(i *Info) float64 { return i.RequestRate + 3*i.MeanStreams })
				if got, want := r.Brief().Streams, r.Totals().Streams; got != want {
					t.Errorf("%d streams at the sample, want %d", got, want)
				}
			},
			"": func(t *rapid.T) { checkSums(t, r) },
		})
		for _, c := range live {
			c.OnClose(h2conn.ByClient)
		}
		if r.Loads() != (Loads{}) {
			t.Errorf("loads without a connection are %+v, want 0", r.Loads())
		}
	})
}

func TestNoAllocationPerConnection(t *testing.T) {
	r := NewRegistry(0)
	for range 20 * sampleBatch {
		add(r, "k")
	}
	for name, f := range map[string]func(){
		"Each":   func() { r.Each(func(*Info) {}) },
		"Sample": func() { r.Sample(func(i *Info) float64 { return i.RequestRate }) },
		"Loads":  func() { r.Loads() },
		"Brief":  func() { r.Brief() },
	} {
		if n := testing.AllocsPerRun(10, f); n > 6 {
			t.Errorf("%s makes %v allocations, want at most 6", name, n)
		}
	}
}
