package main

import (
	"fmt"
	"math"
	"time"

	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// byCPU are fleets whose autoscaler looks at CPU, to which handshakes add. A pod that is added
// costs handshakes, and an autoscaler that takes them for load adds more pods. The fleets are 3 pods,
// and from the change on their RPCs need 4 of at most 10.
var byCPU = []Scenario{
	scaledByCPU("hpa-cpu-k8s", multiHomed(1000), 0, Limit{What: "pods at the most", Op: ">=", Value: 8, Of: mostPods}),
	scaledByCPU("hpa-cpu-k8s-single", singleHomed(3000), 0, Limit{What: "pods at the most", Op: ">=", Value: 8, Of: mostPods}),
	scaledByCPU("hpa-cpu-chart", multiHomed(6000), chartScaleUp, Limit{What: "pods at the most", Op: "=", Value: 4, Of: mostPods}),
	scaledByCPU("hpa-cpu-single", singleHomed(6000), chartScaleUp, Limit{What: "pods at the most", Op: "=", Value: 4, Of: mostPods}),
}

// chartScaleUp is the chart's autoscaling.behavior.scaleUp.stabilizationWindowSeconds.
const chartScaleUp = 2 * time.Minute

func scaledByCPU(name string, g world.Group, up time.Duration, most Limit) Scenario {
	return Scenario{
		Name:  name,
		Note:  fmt.Sprintf("an autoscaler by CPU, whose scale-ups wait for %v, for 1 h; 3 pods whose RPCs need 4, %d %s, TLS", up, g.Count, g.Name),
		World: world.Config{Pods: 3, Groups: []world.Group{g}}, For: time.Hour,
		Change: func(w *world.World) {
			s := &scaler{w: w, up: up, accepted: []int{w.Accepted()}}
			w.Every(w.Now(), scalerPeriod, int(time.Hour/scalerPeriod), func(int) { s.look() })
		},
		Limits: []Limit{most, {What: "pods at the end", Op: "<=", Value: 5, Of: func(r *world.Result) float64 { return float64(r.Final.Pods) }}},
	}
}

// mostPods is the largest number of pods at the autoscaler's looks.
func mostPods(r *world.Result) float64 {
	most := r.Final.Pods
	for i := range r.Marks {
		most = max(most, r.Marks[i].Pods)
	}
	return float64(most)
}

const (
	// scalerPeriod is --horizontal-pod-autoscaler-sync-period, and the resolution of
	// metrics-server, whose figures are the mean of two periods.
	scalerPeriod = 15 * time.Second
	// scaleDown is the chart's stabilizationWindowSeconds of scaleDown, and Kubernetes' own.
	scaleDown = 5 * time.Minute
	// handshakeCPU is what a TLS handshake with an RSA key of 2048 bits costs a server.
	handshakeCPU = 2 * time.Millisecond
	// targetCPU is 70 % of the chart's request of 50m, a second.
	targetCPU = 35 * time.Millisecond
	// needed is what the RPCs of the fleet cost, in pods at the target.
	needed = 3.6
	// idle is how far from 1 the ratio may be without anything being done
	// (--horizontal-pod-autoscaler-tolerance).
	idle       = 0.1
	scalerMost = 10
)

// scaler is a HorizontalPodAutoscaler, with the rules of its documentation and Kubernetes' default
// policies: at most twice the pods, or 4 more, in a period.
type scaler struct {
	w        *world.World
	up       time.Duration // stabilizationWindowSeconds of scaleUp
	accepted []int         // connections of all pods together, by look
	wanted   []int         // numbers of pods that the looks recommended
}

func (s *scaler) look() {
	s.w.MarkAt(s.w.Now())
	s.accepted = append(s.accepted, s.w.Accepted())
	n := len(s.accepted) - 1
	periods := min(n, 2)
	handshakes := float64(s.accepted[n]-s.accepted[n-periods]) / (time.Duration(periods) * scalerPeriod).Seconds()
	cpu := needed + handshakes*handshakeCPU.Seconds()/targetCPU.Seconds()
	now := len(s.w.Alive())
	want := now
	if ratio := cpu / float64(now); math.Abs(ratio-1) > idle {
		want = min(max(int(math.Ceil(cpu-1e-9)), 3), scalerMost)
	}
	s.wanted = append(s.wanted, want)
	if least := s.within(s.up, func(a, b int) int { return min(a, b) }); least > now {
		s.w.Scale(min(least, max(2*now, now+4)))
	} else if most := s.within(scaleDown, func(a, b int) int { return max(a, b) }); most < now {
		s.w.Scale(most)
	}
}

// within folds the recommendations of a window, the latest included.
func (s *scaler) within(window time.Duration, fold func(a, b int) int) int {
	from := max(0, len(s.wanted)-1-int(window/scalerPeriod))
	out := s.wanted[from]
	for _, n := range s.wanted[from:] {
		out = fold(out, n)
	}
	return out
}
