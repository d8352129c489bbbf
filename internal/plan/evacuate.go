package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// evacuation drains a pod that lives, but that clients should no longer use: the Service does
// not list it, or it is not ready. It keeps serving whoever still comes.
//
// It does nothing if more than half of the pods would be without load: then what is wrong is
// the Service, not the pods (Envoy's panic threshold).
type evacuation struct {
	queue   []uint64
	planned int // connections that a dry run would drain
}

// evacuate runs instead of the other rules.
func (s *State) evacuate(v *View, p *Policy, st *Step) {
	x := &s.evacuation
	if others := len(v.Members); others == 0 || v.OutPods > others {
		st.is(Unbalanceable, fmt.Sprintf("%s, and so are %d of %d pods: no connection moves while more than half would be without load. Check the Service's selector and the readiness probes",
			v.Out, max(v.OutPods, 1), others+max(v.OutPods, 1)))
		return
	}
	if p.DryRun {
		s.planEvacuation(v, p, st)
		return
	}
	if len(x.queue) == 0 {
		x.choose(v, p, s, st)
	}
	n := s.pace.take(v, p, len(x.queue))
	for _, id := range x.queue[:n] {
		st.Drains = append(st.Drains, Drain{ID: id, Reason: reason.Evacuation, Why: "this pod is out of the Service"})
	}
	x.queue = x.queue[n:]
	st.wakeAt(v.Now+time.Second, v.Now)
	if len(x.queue) > 0 {
		st.wakeAt(s.pace.wake(v), v.Now)
	}
	st.is(Draining, fmt.Sprintf("%s: its clients are drained, %d connections are left%s", v.Out, v.Serving, s.pace.why()))
}

// choose takes all connections that are here.
func (x *evacuation) choose(v *View, p *Policy, s *State, st *Step) {
	x.queue = append(x.queue, leaving(v, p)...)
	if len(x.queue) == 0 {
		return
	}
	slices.Sort(x.queue)
	s.pace.start(v.Now, len(x.queue), roundLength(len(x.queue), 1, p))
	st.note("evacuate", len(x.queue), "%s: this pod drains %s", v.Out, plural(len(x.queue), "connection", "connections"))
}

// leaving returns the connections that an evacuation drains.
func leaving(v *View, p *Policy) (ids []uint64) {
	for i := range v.Conns {
		if c := &v.Conns[i]; !c.Draining && (!c.Returned || v.Now-c.Opened >= p.Cooldown) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}
