package plan

import (
	"testing"
	"time"
)

// Only differences of time matter: a pod that has just started does not take the epoch for
// the last change of the membership.
func TestEpochDoesNotMatter(t *testing.T) {
	var want map[string]Verdict
	for _, epoch := range []time.Duration{0, time.Minute, 30 * 24 * time.Hour} {
		f := newFleet(3, 0, 1)
		f.now += epoch
		f.scale(0)
		f.scale(3)
		f.resolveAll()
		f.addSingleHomed(60)
		f.run(time.Minute)
		f.scale(4)
		f.resolveAll()
		f.run(20 * time.Second)
		young := f.states["10.0.0.04"]
		if v := f.view("10.0.0.04"); young.calm(v) {
			t.Errorf("epoch %v: a pod of 20 s takes the membership for calm", epoch)
		}
		if want == nil {
			want = f.verdicts
		}
		for pod, got := range f.verdicts {
			if got != want[pod] {
				t.Errorf("epoch %v: got verdict %s of %s, want %s", epoch, got, pod, want[pod])
			}
		}
	}
}
