package plan

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// A pod that is out of the Service drains its clients, unless more than half of the pods would
// be without load.
func TestPanicThreshold(t *testing.T) {
	for _, tc := range []struct{ pods, out, goaways int }{
		{3, 1, 20},
		{4, 2, 20}, // half is not more than half
		{5, 3, 0},
		{2, 2, 0}, // nobody is left
	} {
		f := newFleet(tc.pods, 0, 1)
		f.addSingleHomed(20 * tc.pods)
		f.run(time.Minute)
		f.unlist(f.pods[tc.pods-tc.out:]...)
		f.run(2 * time.Minute)
		want, verdict := tc.goaways*tc.out, Draining
		if tc.goaways == 0 {
			verdict = Unbalanceable
		}
		last := f.pods[tc.pods-1]
		if got := f.goaways[reason.Evacuation]; got != want || f.verdicts[last] != verdict {
			t.Errorf("%d of %d pods out: got %d GOAWAYs and verdict %s, want %d and %s", tc.out, tc.pods, got, f.verdicts[last], want, verdict)
		}
	}
}

// Clients that come back to a pod that is out rest for the cooldown, and a pod that is listed
// again drains nobody.
func TestEvacuationKeepsTheCooldownAndEnds(t *testing.T) {
	f := newFleet(3, 0, 1)
	f.addSingleHomed(60)
	for _, c := range f.singleHomed {
		c.pinned = true
	}
	f.run(time.Minute)
	pod := f.pods[2]
	f.unlist(pod)
	f.run(outAfter + 5*time.Minute)
	if n := f.goaways[reason.Evacuation]; n < 20 || n > 20*11 || f.tooSoon > 0 {
		t.Errorf("got %d GOAWAYs, %d of them within the cooldown; want one for each of 20 clients and 30 s at most", n, f.tooSoon)
	}
	f.relist(pod)
	before := f.goaways[reason.Evacuation]
	f.run(5 * time.Minute)
	if more := f.goaways[reason.Evacuation] - before; more != 0 {
		t.Errorf("got %d more GOAWAYs after the pod was listed again, want none", more)
	}
	if s := f.states[pod]; len(s.evacuation.queue) != 0 {
		t.Errorf("got %d connections left in the queue, want none", len(s.evacuation.queue))
	}
}
