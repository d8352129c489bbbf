package plan

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// If the weight is the number of connections, the band is one of whole connections.
func TestBandOf(t *testing.T) {
	for _, tc := range []struct {
		mean, over, under float64
		whole             bool
	}{
		{0, 0, 0, true},
		{10, 11, 7, true},
		{10, 11, 7, false},
		{75, 83, 52.5, true}, // rounded up: connections move whole
		{4, 5, 2.8, true},
		{2.8, 4, 1.96, true},
		{3, 4, 2, true}, // one above the mean is always allowed; and three numbers are inside
		{3.5, 4, 2, true},
		{4.3, 5, 3, true},
		{2, 3, 1, true},
		{0.5, 1, 0, true},
		{3, 3.3, 2.1, false},
		{2.5, 3, 1, true},
		{87.5, 97, 61.25, true},
	} {
		band := BandOf(tc.mean, &Policy{Tolerance: 0.1, Floor: 0.7, Whole: tc.whole})
		if math.Abs(band.Over-tc.over) > 1e-9 || math.Abs(band.Under-tc.under) > 1e-9 {
			t.Errorf("got %+v, want %+v", band, tc)
		}
	}
}

// In a zone whose clients reach no other, 48 of a mean of 43 is too much.
func TestZoneBandIsRoundedDown(t *testing.T) {
	p := &Policy{Tolerance: 0.1, Floor: 0.7, Whole: true}
	for _, tc := range []struct{ mean, over, under float64 }{
		{300. / 7, 47, 30},
		{10, 11, 7}, // not 10, which is less than 1.1 times
		{50, 55, 35},
		{9.5, 10, 6.65}, // one above the mean is always allowed
		{4.6, 5, 3},
		{3, 4, 2},
		{0.5, 1, 0},
	} {
		band := bandOf(tc.mean, p, true)
		if math.Abs(band.Over-tc.over) > 1e-9 || math.Abs(band.Under-tc.under) > 1e-9 {
			t.Errorf("mean %v: got %+v, want %+v", tc.mean, band, tc)
		}
	}
	v := zoned("x", "x", "x", "x", "x", "x", "x")
	v.Load = 48
	for _, pod := range v.Members[1:] {
		v.Peers = append(v.Peers, Peer{Pod: pod, Load: 42})
	}
	for _, tied := range []bool{true, false} {
		if !tied {
			v.Zones = nil
		}
		var e evener
		if l, ok := e.measure(v, p); !ok || (l.overLoaded == 1) != tied || (l.own.Over == 47) != tied {
			t.Errorf("tied to a zone: %v; got %d over-loaded, above %v", tied, l.overLoaded, l.own.Over)
		}
	}
}

// Of many pods each polls a handful a second: fewer than half are enough then.
func TestEnough(t *testing.T) {
	for _, tc := range []struct {
		known, others int
		want          bool
	}{
		{0, 0, true},
		{0, 1, false},
		{1, 1, true},
		{2, 4, false},
		{3, 4, true},
		{16, 32, false},
		{17, 32, true},
		{38, 1000, false},
		{39, 1000, true},
	} {
		if got := Enough(tc.known, tc.others); got != tc.want {
			t.Errorf("%d of %d others: got %v, want %v", tc.known, tc.others, got, tc.want)
		}
	}
}

func TestWaterLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := rapid.Custom(func(t *rapid.T) podLoad {
			return podLoad{load: rapid.Float64Range(0, 100).Draw(t, "load"), share: rapid.Float64Range(0.1, 8).Draw(t, "share")}
		})
		all := rapid.SliceOfN(pod, 1, 20).Draw(t, "pods")
		total := rapid.Float64Range(0, 500).Draw(t, "total")
		least := rapid.Float64Range(0, 50).Draw(t, "least")
		level := waterLevel(slices.Clone(all), total, least)
		above := 0.0
		for _, d := range all {
			above += max(0, d.load-level*d.share)
		}
		if level < least-1e-9 || above > total+1e-6 || level > least+1e-9 && math.Abs(above-total) > 1e-6 {
			t.Errorf("got level %v with %v above it, want %v above it, or level %v", level, above, total, least)
		}
	})
}

// While something is in flight, no pod gives below the middle between the mean and the edge of the
// band: what lands here, and what others drain at this moment, does not show yet.
func TestLevelWhileStreamsGoOn(t *testing.T) {
	l := loadsOf(51, 48, 3, 3, 3)
	l.self, l.flight = l.pods[0], 8
	l.self.plain = 1
	l.compare(5, &Policy{Tolerance: 0.1, Floor: 0.7, Whole: true})
	if want := l.mean * 1.05; math.Abs(l.level-want) > 1e-9 {
		t.Errorf("got a level of %v, want %v: the mean is %v", l.level, want, l.mean)
	}
}

// Where pods should carry very different loads, a round moves less: what lands on small pods must go
// again.
func TestUnlikePodsGiveLess(t *testing.T) {
	for _, tc := range []struct {
		name    string
		shares  []float64
		loads   []float64
		warming bool
		relief  bool // of the others
		want    float64
	}{
		{"alike", []float64{1, 1, 1}, []float64{60, 30, 0}, false, false, 3 * 16.4},                         // of the 21 that one of three pods lacks
		{"twice as large, and far below", []float64{1, 1, 2}, []float64{50, 50, 0}, false, false, 3 * 17.5}, // half of the 35 that it lacks
		{"twice as large", []float64{1, 1, 2}, []float64{45, 45, 30}, false, false, 24},                     // the excess
		{"while one warms up", []float64{1, 1, 2}, []float64{45, 45, 30}, true, false, 60.7},                // and much of what comes back
		{"while others are relieved", []float64{1, 1, 2}, []float64{45, 45, 30}, false, true, 60.7},
	} {
		l := loadsOf(tc.loads...)
		for i, share := range tc.shares {
			l.pods[i].share = share
		}
		l.pods[1].overloaded = tc.relief
		l.self, l.warming = l.pods[0], tc.warming
		l.self.plain = tc.shares[0]
		l.compare(len(tc.loads), &Policy{Tolerance: 0.1, Floor: 0.7, Whole: true})
		if math.Abs(l.total-tc.want) > 0.5 {
			t.Errorf("%s: all pods together give %v, want %v", tc.name, l.total, tc.want)
		}
	}
}
