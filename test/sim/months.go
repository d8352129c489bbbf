package main

import (
	"slices"
	"time"
)

// months are fleets over hours and days: rollouts, autoscalers, crash loops, clients that come
// and go. Their limits are what is right, not what is reached. Each scenario that misses its
// limits today is marked with the reason; see docs/simulation.md.
var months = marked(slices.Concat(
	autoscalers, byCPU, rollouts(), inPlaces(), joins(), flaps, views, loads, zones(), shares, shapes,
))

// marked sets Fails. It also bounds the seeds of scenarios that take seconds each.
func marked(all []Scenario) []Scenario {
	for i := range all {
		s := &all[i]
		s.Fails = marks[s.Name]
		if work := s.For * time.Duration(s.World.Pods); work > manyPodHours {
			s.Seeds = 5
		}
	}
	return all
}

const manyPodHours = 110 * time.Hour
