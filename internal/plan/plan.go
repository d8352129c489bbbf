package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Verdict is one word on the state of the balance. It mirrors
// rebalance.Verdict, which is the documented one.
type Verdict string

// The verdicts that planning comes to.
const (
	Balanced Verdict = "balanced"
	Moving   Verdict = "moving"
	Checking Verdict = "checking"
	Waiting  Verdict = "waiting"
	Stale    Verdict = "stale"
	Disabled Verdict = "disabled"

	Draining Verdict = "draining"

	Unbalanceable Verdict = "unbalanceable"
	Overloaded    Verdict = "overloaded"
)

// Policy holds the settings, and the few constants that follow from how clients
// behave.
type Policy struct {
	// Enabled is the kill switch: false stops everything but the backstop age.
	Enabled bool
	// DryRun decides and drains nothing but for the backstop age; see dryrun.go.
	DryRun bool
	// Settle is how long the membership must have been quiet.
	Settle time.Duration
	// Spread is the time over which one round's GOAWAYs are spread.
	Spread time.Duration
	// Cooldown is how long a client that came back is not drained again. For HTTP/1.1 it is
	// singleRest at most.
	Cooldown time.Duration
	// MaxPerSecond bounds the GOAWAYs of rebalancing per second.
	MaxPerSecond float64
	// MaxFractionPerMinute bounds them per minute, as a share of the connections.
	MaxFractionPerMinute float64
	// CheckAfter is how long after a round its reach is checked.
	CheckAfter time.Duration
	// MaxRounds is how many rounds of reach one growth may take.
	MaxRounds int
	// MaxAge is the backstop age; 0 turns it off.
	MaxAge time.Duration
	// Tolerance is how far above the mean a pod is over-loaded, as a share of the mean.
	// Floor is the share of the mean below which a pod is under-loaded; at 0 none is.
	Tolerance, Floor float64
	// Whole is true if loads are numbers of connections, each of weight 1.
	Whole bool
}

// DefaultMaxRounds is three: one for the owner, and two more for clients that DNS caches
// held back.
const DefaultMaxRounds = 3

// Query is a set of questions to other pods, sent once for each ID.
type Query struct {
	ID uint64
	// Keys are, for each pod, the keys to query it for.
	Keys map[string][]string
}

// Drain is a connection to drain now.
type Drain struct {
	ID     uint64
	Reason reason.Reason
	// Why is a short sentence that the client gets as the GOAWAY's debug data.
	Why string
}

// Step is what to do now.
type Step struct {
	Verdict Verdict
	// Why is a sentence for a person. It changes only when the situation does.
	Why string
	// Drains are the connections to drain now.
	Drains []Drain
	// Planned are the drains that a dry run would have begun now, each once.
	Planned []Planned
	// Query, if not nil, must be sent; its answers go into View.Counts.
	Query *Query
	// Notes are decisions that deserve a line in the log, each once.
	Notes []Note
	// Wake is how soon planning must run again; 0 means only when the view changes.
	Wake time.Duration
}

// Note is a decision, for the log and for /statusz.
type Note struct {
	Action string
	Count  int
	Why    string
}

// State is what planning remembers. The zero value is the start.
type State struct {
	// Generation counts the growths noticed so far.
	Generation uint64

	members membership
	settled []string // the members last acted upon
	stayed  []string // those of settled that have been members ever since
	started bool
	joining bool     // this pod is new, and DNS has not listed all pods yet
	mates   []string // a buffer: the members of this pod's zone

	growth          *growth
	growthCompleted bool // the last growth ended with multi-homed clients on all pods
	clients         clients
	unreached       int
	queries         uint64 // the ID of the last query
	pace            pacer
	age             ager
	even            evener
	evacuation      evacuation
	reaching        bool
	hold            bool    // the view is too new for any move
	ownedConns      []*Conn // a buffer: connections whose keys this pod owns
	shown           shown
}

// Next decides. It does not keep v, and returns the changed s.
func Next(s State, v *View, p *Policy) (State, Step) {
	var st Step
	s.pace.observe(v)
	s.age.next(v, p, &st)
	s.rebalance(v, p, &st)
	s.shown.settle(v.Now, s.calm(v), &st)
	return s, st
}

// Growing reports whether Next needs View.Conns and View.Gate for these members. It does
// if a growth is under way or may be found in this step, or if this pod is new.
func (s *State) Growing(members []string) bool {
	return s.growth != nil && s.growth.phase != planned || s.joining || s.unsettled(members)
}

func (s *State) unsettled(members []string) bool {
	return !slices.Equal(s.stayed, s.members.counted) || !slices.Equal(s.members.listed, members)
}

// Pacing reports whether Next will only send GOAWAYs that it has already decided on, so that
// it needs no View.Conns for the members and the Out of v.
func (s *State) Pacing(v *View) bool {
	if v.Out != "" {
		return len(s.evacuation.queue) > 0
	}
	if s.joining || s.unsettled(v.Members) {
		return false
	}
	if g := s.growth; g != nil {
		return g.phase == moving && len(g.queue) > 0 && !g.morePasses()
	}
	return len(s.even.queue) > 0
}

// Unreached is the number of connections whose clients had not reached the new pods when
// the last growth was given up; 0 once another has begun.
func (s *State) Unreached() int { return s.unreached }

// SingleHomed are the keys of clients that reach drained recently and that did not come
// back as multi-homed ones do. A pod that queries this one for their counts must learn of
// it too: this pod has seen it, others can only guess. The map is never changed.
func (s *State) SingleHomed() map[string]bool { return s.clients.singleHomed }

// Relief is the part of its share that this pod claims: less than 1 while it is overloaded.
// Other pods must learn of it.
func (s *State) Relief() float64 { return s.even.relief.part() }

// Paused reports whether this pod moves nothing because connections did not land where they
// should. Other pods must learn of it.
func (s *State) Paused() bool { return s.even.trial.misses }

// rebalance runs the rules that move connections between pods.
func (s *State) rebalance(v *View, p *Policy, st *Step) {
	s.reaching = false
	if v.Out == "" {
		s.evacuation = evacuation{}
	}
	switch {
	case !p.Enabled:
		s.forget()
		st.is(Disabled, "rebalance.enabled is false: no connection is moved, the backstop age stays in force")
	case v.NoPeers != "":
		s.forget()
		st.is(Disabled, v.NoPeers)
	case v.Stale != "":
		s.suspend()
		st.is(Stale, v.Stale)
	case v.Out != "":
		s.suspend()
		s.evacuate(v, p, st)
	default:
		s.watch(v, p, st)
		s.balance(v, p, st)
	}
}

// balance runs the two rules on the members that count.
func (s *State) balance(v *View, p *Policy, st *Step) {
	counted := *v
	counted.Members = s.members.counted
	if s.growth == nil && v.Now-s.members.changedAt() >= allRoundsLast(v, p) {
		s.clients.singleHomed = nil
	}
	s.hold = s.joining
	s.holdDry(p)
	s.reach(&counted, p, st)
	s.reaching = s.growth.reaching(v.Now)
	mates := s.zoneView(v)
	s.evenness(&mates, p, st)
	s.nameShortZone(v, p, st)
	s.nameProbation(st)
}

// zoneView is the view for evenness: the members that count, without those of other zones if
// clients reach the pods of their own zone only.
func (s *State) zoneView(v *View) View {
	mates := *v
	mates.Members = s.members.counted
	zone, tied := v.Zones[v.Self]
	if !tied {
		return mates
	}
	s.mates = s.mates[:0]
	for _, pod := range s.members.counted {
		if v.Zones[pod] == zone {
			s.mates = append(s.mates, pod)
		}
	}
	mates.Members = s.mates
	return mates
}

// suspend stops what is under way because the view cannot be acted upon. A growth counts
// again once it can be.
func (s *State) suspend() {
	if s.growth != nil && s.growth.phase != checking {
		s.growth.phase = atGate
	}
	s.even.drop()
}

func (st *Step) is(v Verdict, why string) { st.Verdict, st.Why = v, why }

// unlessMoving sets the verdict, unless this pod moves connections or checks where they went.
func (st *Step) unlessMoving(v Verdict, why string) {
	if st.Verdict != Moving && st.Verdict != Checking {
		st.is(v, why)
	}
}

func (st *Step) note(action string, n int, format string, args ...any) {
	st.Notes = append(st.Notes, Note{Action: action, Count: n, Why: fmt.Sprintf(format, args...)})
}

// wakeAt makes planning run again at t or earlier.
func (st *Step) wakeAt(t, now time.Duration) {
	d := max(t-now, time.Millisecond)
	if st.Wake == 0 || d < st.Wake {
		st.Wake = d
	}
}

// forget returns to the start: when planning is switched on again, it compares with the
// membership of that moment.
func (s *State) forget() {
	s.growth, s.even, s.clients, s.members = nil, evener{}, clients{}, membership{}
	s.started, s.joining, s.growthCompleted = false, false, false
	s.settled, s.stayed = nil, nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func without(all, drop []string) []string {
	var out []string
	for _, m := range all {
		if _, found := slices.BinarySearch(drop, m); !found {
			out = append(out, m)
		}
	}
	return out
}

func both(a, b []string) []string {
	var out []string
	for _, m := range a {
		if _, found := slices.BinarySearch(b, m); found {
			out = append(out, m)
		}
	}
	return out
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
