package world

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestLives(t *testing.T) {
	w := newWorld(Config{Pods: 4, Next: planNothing, Groups: []Group{
		{Count: 50, Life: 10 * time.Minute},
		{Count: 200, Kind: ClusterIP, Life: 10 * time.Minute},
		{Count: 50, Kind: PickFirst, Shuffle: true, Life: 10 * time.Minute},
		{Count: 20, Kind: ClusterIP, Keys: 1, Life: 10 * time.Minute},
	}})
	w.Measure()
	w.RunTo(time.Hour)
	r := w.Result()
	if want := 320.0 * 6; math.Abs(float64(r.Lives)-want) > 0.1*want {
		t.Errorf("got %d ends of clients, want about %.0f", r.Lives, want)
	}
	open := 0
	for _, p := range w.pods {
		open += p.serving
	}
	if open < 4*50+270-3 || open > 4*50+270 {
		t.Errorf("got %d connections, want 470 but for those on their way", open)
	}
	for _, p := range w.pods {
		w.checkPod(t, p)
	}
	if n := w.countOf(300); n != 20 {
		t.Errorf("the clients behind one address have %d connections of one key, want 20", n)
	}
}

// countOf is the number of connections of client i's key.
func (w *World) countOf(i int) (n int) {
	for slot := w.heads[w.clients[i].key]; slot >= 0; slot = w.conns[slot].keyNext {
		n++
	}
	return n
}

func TestClientsLandInTheirZone(t *testing.T) {
	w := newWorld(Config{Pods: 6, Zones: 3, Next: planNothing, Groups: []Group{
		{Count: 60, Kind: ClusterIP, Zone: 1, Life: time.Minute},
		{Count: 30, Kind: ClusterIP, Zone: 2, Random: true},
		{Count: 30, Kind: ClusterIP},
	}})
	inZone := func(group int16, zones ...int) {
		t.Helper()
		for i := range w.clients {
			if c := &w.clients[i]; c.group == group && c.conn >= 0 {
				if zone := w.zoneOf(w.conns[c.conn].pod); zone != zones[0] && zone != zones[len(zones)-1] {
					t.Errorf("a client of group %d is in zone %d, want one of %v", group, zone, zones)
				}
			}
		}
	}
	inZone(0, 1)
	inZone(1, 2)
	w.RunTo(5 * time.Minute)
	inZone(0, 1)
	w.Kill(0)
	w.Kill(3)
	w.RunTo(7 * time.Minute)
	inZone(0, 2, 3) // a zone without pods borrows from the others
	if r := w.Result(); r.ZoneMax <= 0 || r.ZoneMin > r.ZoneMax {
		t.Errorf("got a max/mean of %v and a min/mean of %v within a zone", r.ZoneMax, r.ZoneMin)
	}
}

func TestBursts(t *testing.T) {
	b := Bursts{Slot: 2 * time.Minute, On: 0.1, Low: 0.1}
	w := newWorld(Config{Pods: 1, Requests: true, Next: planNothing, Groups: []Group{{Count: 100, Kind: ClusterIP, Bursts: b}}})
	sum, measured, busy, n := 0.0, 0.0, 0, 0
	const step = 13 * time.Second
	fade := math.Exp(-float64(step) / float64(smoothing))
	for at := step; at < 4*time.Hour; at += step {
		w.now = Begin + at
		for client := range int32(100) {
			rate, begin := w.slotAt(client, &b, w.now)
			if w.now < begin || w.now-begin >= b.Slot {
				t.Fatalf("at %v the slot began at %v", w.now, begin)
			}
			if rate > 1 {
				busy++
			}
			n++
			sum += w.burst(client)
			seen := w.burstMeasured(w.clients[client].conn, 0, w.now-step, fade)
			measured += seen
			if w.now-begin >= 3*smoothing && math.Abs(seen-rate) > 0.06*b.rate(true) {
				t.Fatalf("%v into a slot of rate %.2f, %.2f is measured", w.now-begin, rate, seen)
			}
		}
	}
	if got := float64(busy) / float64(n); math.Abs(got-b.On) > 0.01 {
		t.Errorf("clients are busy for %.3f of the time, want %v", got, b.On)
	}
	for name, got := range map[string]float64{"rate": sum, "measured rate": measured} {
		if got /= float64(n); math.Abs(got-1) > 0.05 {
			t.Errorf("the mean of the %s is %.3f, want 1", name, got)
		}
	}
	if got := w.burstMeasured(w.clients[0].conn, w.now, w.now-step, fade); got != w.burst(0) {
		t.Errorf("a new connection is measured at %v, want %v", got, w.burst(0))
	}
}

// A lazy client keeps its draining connection until the stream ends; another one reconnects at
// once and keeps both.
func TestStreamsWithoutEnd(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{
			{Count: 10, Kind: ClusterIP, LongShare: 1, LongFor: time.Hour, Lazy: lazy},
			{Count: 10, Kind: ClusterIP, LongShare: 1, LongFor: time.Hour, Lazy: !lazy},
		}})
		w.RunTo(time.Second)
		first := w.clients[0].conn
		w.drain(first, Reasons[1])
		w.RunTo(time.Minute)
		if moved := w.clients[0].conn != first; moved == lazy {
			t.Errorf("lazy %v: the client has moved: %v", lazy, moved)
		}
		r := w.Result()
		if want := map[bool]int{true: 1}[lazy]; r.Waiting != want {
			t.Errorf("lazy %v: %d clients wait, want %d", lazy, r.Waiting, want)
		}
		// The stream of an eager client stays where it was, beside its new connection.
		if want := map[bool]float64{true: 20, false: 21}[lazy]; r.Final.Mean*2 != want {
			t.Errorf("lazy %v: the pods carry %v connections, want %v", lazy, r.Final.Mean*2, want)
		}
		w.RunTo(2 * time.Hour)
		w.check(t)
		if c := w.clients[0].conn; c < 0 || w.info(&w.conns[c]).Draining {
			t.Errorf("lazy %v: the client has no new connection after the end of its stream", lazy)
		}
	}
}

// A pod that ends takes the streams with it, and then lazy clients reconnect too.
func TestLazyClientOfADeadPod(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{
		{Count: 10, Kind: ClusterIP, LongShare: 1, LongFor: time.Hour, Lazy: true},
	}})
	first := w.clients[0].conn
	w.drain(first, Reasons[1])
	w.Kill(0)
	w.RunTo(time.Minute)
	w.check(t)
	if n := w.pods[1].serving; n != 10 {
		t.Errorf("the other pod has %d connections, want all 10", n)
	}
}

func TestSameSeedSameShapes(t *testing.T) {
	run := func(seed uint64) *Result {
		w := newWorld(Config{
			Seed: seed, Pods: 6, Zones: 3, Limit: 60, Requests: true,
			Net:  Net{ViewEvery: time.Second, Split: 1},
			Salt: func(i int) int { return i % 2 }, Plain: func(i int) bool { return i == 2 },
			Groups: []Group{
				{Count: 30, Life: time.Minute},
				{Count: 60, Kind: ClusterIP, Zone: 2, Life: time.Minute, Bursts: Bursts{Slot: time.Minute, On: 0.5}},
				{Count: 60, Kind: ClusterIP, LongShare: 0.5, LongFor: time.Minute, Lazy: true},
			},
		})
		w.Measure()
		w.Every(time.Minute, 2*time.Minute, 4, func(i int) { w.SetReady(3, i%2 == 1) })
		w.At(4*time.Minute, func() { w.Crash(0, 20*time.Second) })
		w.At(5*time.Minute, func() { w.RollInPlace(30*time.Second, 5*time.Second) })
		w.RunTo(10 * time.Minute)
		w.RollBatches(20*time.Second, 2)
		w.RunTo(15 * time.Minute)
		for _, p := range w.pods {
			w.checkPod(t, p)
		}
		return w.Result()
	}
	a := run(7)
	if !reflect.DeepEqual(a, run(7)) {
		t.Error("two runs with the same seed differ")
	}
	if reflect.DeepEqual(a, run(8)) {
		t.Error("two seeds give the same result")
	}
}

// A client that came back five times in a row is pinned where there are 6 pods. In a zone of 2 it
// comes back half of the time.
func TestPinnedAmongThePodsOfAZone(t *testing.T) {
	for zones, want := range map[int]int{0: 1, 3: 0} {
		w := newWorld(Config{Pods: 6, Zones: zones, Next: planNothing, Groups: []Group{{Count: 60, Kind: ClusterIP, Zone: min(zones, 1)}}})
		w.RunTo(time.Minute)
		w.Measure()
		w.pods[0].infos[0].FutileDrains = 5
		if got := w.Result().Pinned; got != want {
			t.Errorf("with %d zones: got %d pinned clients, want %d", zones, got, want)
		}
	}
}

// Of a large fleet with zones, each pod polls all pods of its own zone.
func TestMatesArePolledEverySecond(t *testing.T) {
	w := newWorld(Config{Pods: 60, Zones: 3, Next: planNothing, Groups: []Group{{Count: 60, Kind: ClusterIP}}})
	w.RunTo(time.Minute)
	heard := 0
	for other := range w.pods {
		if at := w.pods[0].reports[other].At; other != 0 && w.zoneOf(int32(other)) == 1 && w.now-at <= 2*time.Second {
			heard++
		}
	}
	if heard != 19 {
		t.Errorf("heard %d of 19 pods within 2 s", heard)
	}
}
