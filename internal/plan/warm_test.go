package plan

import (
	"math"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// A pod that warms up gets no larger part of the channels than it is warm.
func TestMayWarm(t *testing.T) {
	for _, tc := range []struct {
		warm        float64
		total, left int
		want        int
	}{
		{0, 60, 60, 60},   // not reported: as warm as any
		{1, 60, 60, 60},   // warm
		{0.1, 60, 60, 6},  // as many of the channels as it is warm
		{0.1, 60, 54, 0},  // these have been drained
		{0.5, 60, 54, 24}, // half of them, less 6
		{0.11, 60, 60, 6}, // rounded down
		{0.01, 60, 60, 1}, // but one at least, or none would ever move
	} {
		g := &growth{new: []string{"c"}, total: tc.total, queue: make([]uint64, tc.left)}
		v := &View{Members: []string{"a", "b", "c"}, Peers: []Peer{{Pod: "b", Warm: 0.1}, {Pod: "c", Warm: tc.warm}}}
		if got := g.mayWarm(v); got != tc.want {
			t.Errorf("warm %v, %d of %d left: got %d, want %d", tc.warm, tc.left, tc.total, got, tc.want)
		}
	}
}

// While a pod warms up, its part of the requests is never more than 1.2 times its share.
func TestWarmingPodGetsItsShare(t *testing.T) {
	f := newFleet(4, 200, 200)
	f.run(time.Minute)
	f.scale(6)
	f.resolveAll()
	young, from := f.pods[4:], f.now
	for f.now < from+2*time.Minute {
		warm := min(1, max(0.1, (f.now-from).Seconds()/60))
		f.warm = map[string]float64{young[0]: warm, young[1]: warm}
		f.share = f.warm
		f.run(time.Second)
		part := 0.
		for _, c := range f.channels {
			if _, on := c.conns[young[0]]; on {
				part += 1 / float64(len(c.conns)) / float64(len(f.channels))
			}
		}
		if want := warm / (4 + 2*warm); part > 1.2*want+0.005 {
			t.Fatalf("%v after the growth: got %.3f of the requests on a new pod, want at most 1.2 times %.3f", f.now-from, part, want)
		}
	}
	f.wantOnAll(t)
	if n := f.goaways[reason.Reach]; n != 200 {
		t.Errorf("got %d GOAWAYs for 200 channels, want one each", n)
	}
}

// Only the ratio of shares matters.
func TestScaledSharesChangeNothing(t *testing.T) {
	var want *fleet
	for _, factor := range []float64{1, 4, 1. / 16} {
		f := newFleet(3, 0, 1)
		f.share = map[string]float64{f.pods[0]: factor, f.pods[1]: 2 * factor, f.pods[2]: 4 * factor}
		f.addSingleHomed(70)
		f.run(5 * time.Minute)
		if want == nil {
			want = f
		}
		for i, pod := range f.pods {
			if got, want := len(f.conns[pod]), len(want.conns[pod]); got != want {
				t.Errorf("factor %v: got %d connections on %s, want %d", factor, got, pod, want)
			}
			if target := math.Pow(2, float64(i)) * 10; math.Abs(float64(len(f.conns[pod]))-target) > max(2, 0.1*target) {
				t.Errorf("factor %v: got %d connections on %s, want about %v", factor, len(f.conns[pod]), pod, target)
			}
		}
	}
}

// A pod that reports no share counts as one: a fleet of two versions works as the older does.
func TestNoShareIsOne(t *testing.T) {
	var want *fleet
	for _, shares := range []map[string]float64{nil, {"10.0.0.01": 1, "10.0.0.02": 1, "10.0.0.03": 1, "10.0.0.04": 1}, {"10.0.0.02": 1}} {
		f := newFleet(3, 0, 1)
		f.share, f.warm = shares, shares
		f.addSingleHomed(60)
		f.run(time.Minute)
		f.scale(4)
		f.resolveAll()
		f.run(2 * time.Minute)
		if want == nil {
			want = f
		}
		for _, pod := range f.pods {
			if len(f.conns[pod]) != len(want.conns[pod]) || f.verdicts[pod] != want.verdicts[pod] || len(f.sentAt) != len(want.sentAt) {
				t.Errorf("shares %v: got %d connections on %s, %s and %d GOAWAYs; want %d, %s and %d", shares,
					len(f.conns[pod]), pod, f.verdicts[pod], len(f.sentAt), len(want.conns[pod]), want.verdicts[pod], len(want.sentAt))
			}
		}
	}
}
