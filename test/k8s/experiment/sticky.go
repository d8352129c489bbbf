package experiment

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// Band of evenkeel's defaults, as docs/design.md has it, in whole connections.
const (
	tolerance = 0.1
	floor     = 0.7
)

// outOfBand says what is wrong, empty for nothing.
func outOfBand(perPod map[string]int, pods []string) string {
	sum := 0
	for _, pod := range pods {
		sum += perPod[pod]
	}
	mean := float64(sum) / float64(len(pods))
	over := max(math.Ceil((1+tolerance)*mean-1e-9), math.Floor(mean)+1)
	under := floor*mean - 1e-9
	for _, pod := range pods {
		if n := float64(perPod[pod]); n > over || n < under {
			return fmt.Sprintf("%s has %v, outside of %.2f to %v", pod, n, under, over)
		}
	}
	return ""
}

// Sticky is how connections of which each is on one pod followed new pods.
type Sticky struct {
	// Even is when the pods came into the band for good, after the last of them was
	// ready. Below 0: never.
	Even time.Duration
	// PerPod counts connections at the end.
	PerPod []int
	// GoAways and Opened by then, and Late GOAWAYs: later than a calm time after Even.
	GoAways, Opened, Late int
	// Calls and Failed ones, with their texts.
	Figures
	// Verdicts of the pods at the end, counted.
	Verdicts map[string]int
}

// calm is for how long GOAWAYs may follow the moment when all pods are in the band:
// that is seen from without before the pods have told each other.
const calm = 5 * time.Second

// settledShare of the windows from Even on must be inside the band. The rest is for a
// machine that has other things to do, too.
const settledShare = 0.95

// MeasureSticky measures the phase of growth. All connections have the same rate of
// calls, so that a pod's share of the calls tells how many are on it; a pod's own count
// has the kubelet's probes in it, too.
func MeasureSticky(records []Record, name string, connections int) (*Sticky, error) {
	v := newView(records, name)
	i := slices.IndexFunc(v.marks, func(r Record) bool { return r.Phase == PhaseGrow })
	if i < 0 || i+1 == len(v.marks) {
		return nil, fmt.Errorf("fleet %s: no phase %q that ends", name, PhaseGrow)
	}
	f, err := v.phase(i)
	if err != nil {
		return nil, fmt.Errorf("fleet %s: %w", name, err)
	}
	end := v.marks[i+1].At
	s := &Sticky{Figures: f, GoAways: f.GoAways, Opened: f.Opened, Even: never, Verdicts: v.verdicts(end)}
	pods := v.members(end)
	counts := v.counts(f.Growth.ReadyAt, end, connections)
	if len(counts) == 0 {
		return nil, fmt.Errorf("fleet %s: no calls after the growth", name)
	}
	for _, pod := range pods {
		s.PerPod = append(s.PerPod, counts[len(counts)-1][pod])
	}
	if first, ok := inBandFrom(counts, pods); ok {
		s.Even = time.Duration(first) * Interval
		s.Late = s.GoAways + v.goawaysAt(v.marks[i].At) - v.goawaysAt(f.Growth.ReadyAt.Add(s.Even+calm))
	}
	return s, nil
}

// members are the pods that are ready last before at.
func (v *view) members(at time.Time) []string {
	before := v.ready[:firstFrom(v.ready, at)]
	return slices.Sorted(maps.Keys(before[len(before)-1].Addresses))
}

// verdicts of the members, as they stood last before at.
func (v *view) verdicts(at time.Time) map[string]int {
	last := map[string]string{}
	for _, r := range v.states[:firstFrom(v.states, at)] {
		last[r.Name] = r.State.Verdict
	}
	out := map[string]int{}
	for _, pod := range v.members(at) {
		out[last[pod]]++
	}
	return out
}

// counted is the length of a window over which calls are counted: with few calls a
// second, what falls on the other side of its edge matters.
const counted = 2 * time.Second

// counts is how many connections each pod has, for the windows that begin with each
// interval from from on and are over before to.
func (v *view) counts(from, to time.Time, connections int) []map[string]int {
	var out []map[string]int
	for at := from; !at.Add(counted).After(to); at = at.Add(Interval) {
		perPod, all := map[string]int{}, 0
		for _, window := range []map[string]int{v.tally.Window(at), v.tally.Window(at.Add(time.Second))} {
			for pod, n := range window {
				perPod[pod] += n
				all += n
			}
		}
		for pod, n := range perPod {
			perPod[pod] = int(math.Round(float64(connections*n) / float64(all)))
		}
		out = append(out, perPod)
	}
	return out
}

// inBandFrom is the first window that is in the band and after which hardly any is not.
func inBandFrom(counts []map[string]int, pods []string) (first int, ok bool) {
	good := 0
	for i, perPod := range slices.Backward(counts) {
		if outOfBand(perPod, pods) != "" {
			continue
		}
		good++
		if float64(good) >= settledShare*float64(len(counts)-i) {
			first, ok = i, true
		}
	}
	return first, ok
}
