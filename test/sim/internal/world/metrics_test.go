package world

import (
	"math"
	"testing"
	"time"
)

func TestMeasures(t *testing.T) {
	w := newWorld(Config{Pods: 2, Next: planNothing, Groups: []Group{{Count: 30, Kind: ClusterIP}}})
	w.RunTo(time.Minute)
	w.Measure()
	w.MarkAt(2 * time.Minute)
	w.Scale(6) // 15 15 0 0 0 0: max/mean is 3.0
	w.RunTo(3 * time.Minute)
	r := w.Result()
	if r.Even >= 0 || r.FirstEven >= 0 {
		t.Errorf("got even after %v, first after %v, want never", r.Even, r.FirstEven)
	}
	if r.Above < 110*time.Second || r.Above > 120*time.Second {
		t.Errorf("got %v above twice the mean, want 110 s to 120 s", r.Above)
	}
	if r.Final.MaxOfMean != 3 || r.Marks[0].MaxOfMean != 3 || r.Final.MinOfMean != 0 || r.Final.OfBand() < 100 {
		t.Errorf("got final %+v and mark %+v, want a max/mean of 3 and a min/mean of 0", r.Final, r.Marks[0])
	}
	r.GoAways = nil
	for _, s := range []int{0, 10, 50, 69, 71, 200} {
		r.GoAways = append(r.GoAways, GoAway{At: time.Duration(s) * time.Second})
	}
	if got := r.MostIn(time.Minute); got != 3 {
		t.Errorf("got %d GOAWAYs within a minute, want 3: at 0, 10 and 50 s", got)
	}
	if got := r.After(70 * time.Second); got != 2 {
		t.Errorf("got %d GOAWAYs after 70 s, want 2", got)
	}
	if got := r.PerClient(-1); got != 0.2 {
		t.Errorf("got %v GOAWAYs per connection, want 6/30", got)
	}
}

func TestBand(t *testing.T) {
	for _, tc := range []struct {
		mean        float64
		whole       bool
		over, under float64
	}{{20, true, 22, 14}, {10, true, 11, 7}, {0.6, true, 1, 0.42}, {33.4, true, 37, 23.38}, {33.4, false, 36.74, 23.38}} {
		over, under := Band(tc.mean, tc.whole)
		if math.Abs(over-tc.over) > 1e-9 || math.Abs(under-tc.under) > 1e-9 {
			t.Errorf("mean %v: got the band %v to %v, want %v to %v", tc.mean, under, over, tc.under, tc.over)
		}
	}
}

func TestBuckets(t *testing.T) {
	for d := time.Duration(0); d < time.Second; d = d*21/20 + 1 {
		i := bucket(d)
		if d >= upTo(i) || i > 0 && d < upTo(i-1) {
			t.Fatalf("bucket %d from %v to %v contains %v", i, upTo(max(i-1, 0)), upTo(i), d)
		}
	}
}
