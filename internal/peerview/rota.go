package peerview

import "github.com/evenkeel-go/evenkeel/internal/plan"

// Rota decides which pods to poll. Up to plan.PollAll other pods are all polled every time.
// Of more, plan.PollHandful are chosen at random, and none twice before each has had its
// turn. So a pod's traffic does not grow with the fleet, and it has reports of as many pods
// as possible.
type Rota[T any] struct {
	waiting []T // those of a large fleet that have not had their turn
}

// Next calls poll for each pod whose turn it is. others is how many pods there are besides
// this one, which may be among all. poll reports whether the pod counts towards the handful.
// It does not if it is this pod or is no longer listed. Next reports whether each pod has
// now had its turn.
func (r *Rota[T]) Next(all []T, others int, shuffle func(n int, swap func(i, j int)), poll func(T) bool) (complete bool) {
	if others <= plan.PollAll {
		r.waiting = nil
		for _, pod := range all {
			poll(pod)
		}
		return true
	}
	if len(r.waiting) == 0 {
		r.waiting = append(r.waiting, all...)
		shuffle(len(r.waiting), func(i, j int) { r.waiting[i], r.waiting[j] = r.waiting[j], r.waiting[i] })
	}
	for polled := 0; len(r.waiting) > 0 && polled < plan.PollHandful; {
		last := len(r.waiting) - 1
		pod := r.waiting[last]
		r.waiting = r.waiting[:last]
		if poll(pod) {
			polled++
		}
	}
	return len(r.waiting) == 0
}
