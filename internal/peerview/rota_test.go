package peerview

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// A pod that is not polled, since it is this one or has left, does not count against the
// handful.
func TestRotaSkipsPodsThatAreNotPolled(t *testing.T) {
	all := make([]int, plan.PollAll+2)
	for i := range all {
		all[i] = i
	}
	var r Rota[int]
	polled := 0
	complete := r.Next(all, len(all)-1, nil, func(int, func(i, j int)) {}, func(pod int) bool {
		if pod%2 == 1 {
			return false
		}
		polled++
		return true
	})
	if complete || polled != plan.PollHandful || len(r.others.waiting) != len(all)-2*plan.PollHandful+1 && len(r.others.waiting) != len(all)-2*plan.PollHandful {
		t.Errorf("%d polled, %d waiting, complete: %v", polled, len(r.others.waiting), complete)
	}
}

// In a large fleet with zones, the pods of this pod's zone are polled as if there were no others,
// and of the others a handful.
func TestRotaOfZones(t *testing.T) {
	for name, tc := range map[string]struct{ all, mates, near, far, walk int }{
		"a few pods":   {plan.PollAll, 4, 4, plan.PollAll - 4, 1},
		"small zones":  {120, 20, 20, plan.PollHandful, 13},
		"large zones":  {120, 40, plan.PollHandful, plan.PollHandful, 10},
		"one zone":     {120, 120, plan.PollHandful, 0, 15},
		"alone in one": {120, 0, 0, plan.PollHandful, 15},
	} {
		t.Run(name, func(t *testing.T) {
			all := make([]int, tc.all)
			for i := range all {
				all[i] = i
			}
			var r Rota[int]
			times := map[int]int{}
			for n := 1; ; n++ {
				near, far := 0, 0
				complete := r.Next(all, len(all), func(pod int) bool { return pod < tc.mates }, shuffle, func(pod int) bool {
					times[pod]++
					near, far = near+b2i(pod < tc.mates), far+b2i(pod >= tc.mates)
					return true
				})
				if n == 1 && (near != tc.near || far != tc.far) {
					t.Errorf("%d mates and %d others were polled, want %d and %d", near, far, tc.near, tc.far)
				}
				if !complete {
					continue
				}
				if n != tc.walk || len(times) != tc.all {
					t.Errorf("after %d polls %d of %d pods have had their turn, want %d polls", n, len(times), tc.all, tc.walk)
				}
				return
			}
		})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestSummary(t *testing.T) {
	const at = time.Hour
	serving := Summary{At: at, Load: 3, Ready: true, Reaching: true}
	stopping := Summary{At: at}
	for _, tc := range []struct {
		s           Summary
		age         time.Duration
		fresh, peer bool
	}{
		{Summary{}, 0, false, false},
		{serving, 0, true, true},
		{serving, provenFor - 1, true, true},
		{serving, provenFor, false, true},
		{serving, ReportKept, false, true},
		{serving, ReportKept + 1, false, false},
		{stopping, provenFor, true, false},
		{stopping, ReportKept, false, false},
	} {
		p, ok := tc.s.Peer("a", at+tc.age)
		if fresh := tc.s.Fresh(at+tc.age, ProvenFor(2, true)); fresh != tc.fresh || ok != tc.peer {
			t.Errorf("%+v after %v: fresh %v, peer %v", tc.s, tc.age, fresh, ok)
		}
		if ok && (p != plan.Peer{Pod: "a", Age: tc.age, Load: 3, Reaching: true}) {
			t.Errorf("%+v", p)
		}
	}
}

func TestProvenFor(t *testing.T) {
	for _, tc := range []struct {
		pods     int
		unproven bool
		want     time.Duration
	}{
		{1000, false, 5 * time.Second},
		{plan.PollAll, true, 5 * time.Second},
		{plan.PollAll + 1, true, 15 * time.Second},
		{100, true, 31 * time.Second},
	} {
		if got := ProvenFor(tc.pods, tc.unproven); got != tc.want {
			t.Errorf("%d pods, unproven %v: %v, want %v", tc.pods, tc.unproven, got, tc.want)
		}
	}
}
