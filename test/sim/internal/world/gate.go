package world

import (
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/lookup"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// gate is a pod's look at DNS: the state that ships, and the pods that it waits for.
type gate struct {
	lookup.GateState

	set    int32 // counts the changes of wanted
	wanted []string
}

// dnsTrip is the time from a lookup to its answer.
const dnsTrip = 2 * time.Millisecond

// lookAtDNS makes the gate wait for the current members and copies its state to the View.
func (w *World) lookAtDNS(p *pod, v *plan.View, busy bool) {
	g := &p.gate
	if !busy {
		g.wanted = nil
		v.Gate = plan.Gate{Needed: true, Why: "DNS has not answered yet"}
		return
	}
	if !slices.Equal(g.wanted, v.Members) {
		g.set, g.wanted = g.set+1, w.kept(p, v.Members)
		g.Reset(len(g.wanted), w.clock())
		w.push(evGate, w.now+dnsTrip, p.idx, g.set)
	}
	v.Gate = plan.Gate{Needed: true, Open: g.Open(), Why: "DNS lacks pods"}
	if g.Open() {
		v.Gate.OpenSince = g.OpenSince().Sub(epoch)
	}
}

// kept returns members in memory that outlasts this tick.
func (w *World) kept(p *pod, members []string) []string {
	if p.unready == 0 {
		return members // the slice of the version
	}
	return slices.Clone(members)
}

func (w *World) gateLooks(p *pod, set int32) {
	g := &p.gate
	if set != g.set || g.wanted == nil || p.dead {
		return
	}
	if g.Record(containsAll(w.answer(w.authoritative()).ids, g.wanted), w.clock()) {
		w.poke(p)
	}
	w.push(evGate, w.now+g.Pace(w.clock()), p.idx, set)
}

// containsAll reports whether all contains every element of some. Both are sorted.
func containsAll(all, some []string) bool {
	i := 0
	for _, s := range some {
		for i < len(all) && all[i] < s {
			i++
		}
		if i == len(all) || all[i] != s {
			return false
		}
	}
	return true
}
