package experiment

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// The band by evenkeel's defaults (docs/design.md).
const (
	tolerance = 0.1
	floor     = 0.7
)

// outOfBand names the first pod whose whole connections are outside the band. It returns an
// empty text if there is none.
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

// SingleHomed is how single-homed connections followed new pods.
type SingleHomed struct {
	// Even is the time from the last ready pod until the pods were in the band for good. Below
	// 0: never.
	Even time.Duration
	// PerPod is the number of connections of each pod at the end.
	PerPod []int
	// GoAways and Opened are counted until the end. Late is the number of GOAWAYs later than
	// lateAfter after Even.
	GoAways, Opened, Late int
	// Figures are those of the phase.
	Figures
	// Verdicts counts the pods' verdicts at the end.
	Verdicts map[string]int
}

// lateAfter is how long GOAWAYs may follow after all pods are in the band. The measurement sees
// the band before the pods have reported to each other.
const lateAfter = 5 * time.Second

// settledShare is the share of the windows after Even that must be inside the band. The rest
// allows for a busy machine.
const settledShare = 0.95

// MeasureSingleHomed measures the phase of growth. All connections have the same rate of
// calls, so a pod's share of the calls shows its number of connections. A pod's own count also
// includes the kubelet's probes.
func MeasureSingleHomed(records []Record, name string, connections int) (*SingleHomed, error) {
	v := newView(records, name)
	i := slices.IndexFunc(v.marks, func(r Record) bool { return r.Phase == PhaseGrow })
	if i < 0 || i+1 == len(v.marks) {
		return nil, fmt.Errorf("fleet %s: there is no complete phase %q", name, PhaseGrow)
	}
	f, err := v.phase(i)
	if err != nil {
		return nil, fmt.Errorf("fleet %s: %w", name, err)
	}
	end := v.marks[i+1].At
	s := &SingleHomed{Figures: f, GoAways: f.GoAways, Opened: f.Opened, Even: never, Verdicts: v.verdicts(end)}
	pods := v.members(end)
	counts := v.counts(f.Growth.ReadyAt, end, connections)
	if len(counts) == 0 {
		return nil, fmt.Errorf("fleet %s: there were no calls after the growth", name)
	}
	for _, pod := range pods {
		s.PerPod = append(s.PerPod, counts[len(counts)-1][pod])
	}
	if first, ok := inBandFrom(counts, pods); ok {
		s.Even = time.Duration(first) * Interval
		s.Late = s.GoAways + v.goawaysAt(v.marks[i].At) - v.goawaysAt(f.Growth.ReadyAt.Add(s.Even+lateAfter))
	}
	return s, nil
}

// members returns the pods that were ready at the last record before at.
func (v *view) members(at time.Time) []string {
	before := v.ready[:firstFrom(v.ready, at)]
	return slices.Sorted(maps.Keys(before[len(before)-1].Addresses))
}

// verdicts counts the members' last verdicts before at.
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

// countWindow is the length of a window over which calls are counted. With few calls a second, a
// shorter window would depend too much on the calls at its edges.
const countWindow = 2 * time.Second

// counts returns how many connections each pod has, for every window between from and to. A
// window starts with each interval.
func (v *view) counts(from, to time.Time, connections int) []map[string]int {
	var out []map[string]int
	for at := from; !at.Add(countWindow).After(to); at = at.Add(Interval) {
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

// inBandFrom returns the first window from which on settledShare of the windows are in the band.
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
