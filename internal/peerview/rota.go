package peerview

import "github.com/evenkeel-go/evenkeel/internal/plan"

// Rota decides which pods to poll. Up to plan.PollAll other pods are all polled every time.
// Of more, plan.PollHandful are chosen at random, and none twice before each has had its
// turn. So a pod's traffic does not grow with the fleet, and it has reports of as many pods
// as possible.
//
// Planning compares the pods of one zone alone if clients reach no others. So in a large fleet
// the mates of a pod, which are the others of its zone, have turns of their own.
type Rota[T any] struct {
	mates, others turns[T]
	// done is which of the two have had all their turns since Next last reported it.
	done struct{ mates, others bool }
}

// Next calls poll for each pod whose turn it is. others is how many pods there are besides
// this one, which may be among all. mate reports whether a pod is a mate of this one; it is
// nil if there are no zones. poll reports whether the pod counts towards the handful. It does
// not if it is this pod or is no longer listed. Next reports whether each pod has now had its
// turn.
func (r *Rota[T]) Next(all []T, others int, mate func(T) bool, shuffle func(n int, swap func(i, j int)), poll func(T) bool) (complete bool) {
	if others <= plan.PollAll || mate == nil {
		r.mates.waiting, r.done.mates = nil, false
		return r.others.next(all, others <= plan.PollAll, shuffle, poll)
	}
	near, far := split(all, mate)
	nearDone := r.mates.next(near, len(near) <= plan.PollAll, shuffle, poll)
	farDone := r.others.next(far, false, shuffle, poll)
	r.done.mates, r.done.others = r.done.mates || nearDone, r.done.others || farDone
	if complete = r.done.mates && r.done.others; complete {
		r.done.mates, r.done.others = false, false
	}
	return complete
}

// turns are those of some pods.
type turns[T any] struct {
	waiting []T // those of a large fleet that have not had their turn
}

// next gives each of pods a turn, or a handful of those that wait for theirs.
func (t *turns[T]) next(pods []T, all bool, shuffle func(n int, swap func(i, j int)), poll func(T) bool) (complete bool) {
	if all {
		t.waiting = nil
		for _, pod := range pods {
			poll(pod)
		}
		return true
	}
	if len(t.waiting) == 0 {
		t.waiting = append(t.waiting, pods...)
		shuffle(len(t.waiting), func(i, j int) { t.waiting[i], t.waiting[j] = t.waiting[j], t.waiting[i] })
	}
	for polled := 0; len(t.waiting) > 0 && polled < plan.PollHandful; {
		last := len(t.waiting) - 1
		pod := t.waiting[last]
		t.waiting = t.waiting[:last]
		if poll(pod) {
			polled++
		}
	}
	return len(t.waiting) == 0
}

func split[T any](all []T, mate func(T) bool) (near, far []T) {
	for _, pod := range all {
		if mate(pod) {
			near = append(near, pod)
		} else {
			far = append(far, pod)
		}
	}
	return near, far
}
