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
	Waiting  Verdict = "waiting"
	Stale    Verdict = "stale"
	Disabled Verdict = "disabled"

	Unbalanceable Verdict = "unbalanceable"
	Overloaded    Verdict = "overloaded"
)

// Policy is what a person may tune, and the few constants that follow from how
// clients behave.
type Policy struct {
	// Enabled is the kill switch: false stops everything but the backstop age.
	Enabled bool
	// Settle is how long the membership must have been quiet.
	Settle time.Duration
	// Spread is the time over which one round's GOAWAYs are spread.
	Spread time.Duration
	// Cooldown is how long a client that came back is not asked again.
	Cooldown time.Duration
	// MaxPerSecond bounds the GOAWAYs of rebalancing per second.
	MaxPerSecond float64
	// MaxFractionPerMinute bounds them per minute, as a share of the connections.
	MaxFractionPerMinute float64
	// CheckAfter is how long after a round its reach is looked at.
	CheckAfter time.Duration
	// MaxRounds is how often reach is tried for one growth.
	MaxRounds int
	// MaxAge is the backstop age; 0: off.
	MaxAge time.Duration
	// Tolerance is how far above the mean a pod is over-loaded, as a share of it; Floor
	// the share of the mean below which one is under-loaded, 0: none is.
	Tolerance, Floor float64
	// Whole: loads are numbers of connections, each of weight 1.
	Whole bool
}

// resolverWait is 30 s, the shortest time between two look-ups of the common resolvers, and
// 5 s for the connections to come up.
const resolverWait = 35 * time.Second

// DefaultCheckAfter is 30 s more, for which caches on the way (NodeLocal DNSCache, older
// Corefiles) hold an answer: a second GOAWAY before would be as useless as the first.
const DefaultCheckAfter = resolverWait + 30*time.Second

// DefaultMaxRounds is three: the owner, and two more for what DNS caches held back.
const DefaultMaxRounds = 3

// Conn is one own connection.
type Conn struct {
	ID       uint64
	Key      string
	Opened   time.Duration
	Returned bool
	Draining bool
	// Weight is its part of View.Load, 0 or more.
	Weight float64
	// Streams are those in flight.
	Streams int
	// FutileDrains is how often in a row its client was asked to leave and came back here.
	FutileDrains int
	// Named: a handler has given it its key, with an RPC. Until then nobody knows whose
	// it is.
	Named bool
}

// Peer is what another pod has told of itself.
type Peer struct {
	// Pod is one of View.Members, never Self.
	Pod string
	// Age is how long ago it told.
	Age time.Duration
	// Load is what View.Load is here.
	Load float64
	// Reaching: it has asked spread clients to leave, or is about to, and has not
	// seen yet where they went.
	Reaching bool
	// Overloaded: it sheds, or would if it could.
	Overloaded bool
}

// Returns are the registry's sums over the connections that evenness asked to leave.
type Returns struct {
	// Drained is how many were, Returned how many came back to this pod, Away for how
	// many the time to come back is over. The rest is still open.
	Drained, Returned, Away uint64
}

// Gate is whether DNS answers clients with every ready member.
type Gate struct {
	// Needed: the name that clients resolve is known.
	Needed bool
	// Open: DNS answers in full; OpenSince is since when.
	Open      bool
	OpenSince time.Duration
	// Why says what is missing while it is not.
	Why string
}

// View is everything that a decision depends on.
type View struct {
	Now  time.Duration
	Self string
	// Members are the pods that serve, sorted, Self among them.
	Members []string
	// Uptime is how long each of Members has served, as far as it is known.
	Uptime map[string]time.Duration
	// Starting is how many pods more are about to serve, as far as that is known.
	Starting int
	// Restarted are those of Members that began anew since the last View, at the same
	// address: nobody saw them leave, but some client may have.
	Restarted []string
	// NoPeers says why there is nobody to balance with (no source); empty: there is.
	NoPeers string
	// Stale says why Members must not be acted upon; empty: they may.
	Stale string
	Gate  Gate
	// Load is this pod's load by the configured weight: the sum over its connections
	// that are not leaving.
	Load float64
	// Serving is the number of those connections.
	Serving int
	// Peers are what other pods told, sorted by Pod, each at most once. A member that
	// is not there has not told for long, or was never asked.
	Peers []Peer
	// Overloaded says by which signal this pod is over-loaded; empty: it is not.
	Overloaded string
	// Returns tell where the clients went that evenness asked to leave.
	Returns Returns
	// Conns are the live connections. Only consulted when something may have to move,
	// see State.Busy.
	Conns []Conn
	// Counts are the answers to the last Step.Ask, nil until they are all there.
	Counts *Counts
}

// Counts are the connections for each key on other pods.
type Counts struct {
	// Query is the Step.Query that these answer.
	Query uint64
	// ByPod holds, for each pod that answered, the number of connections per key.
	ByPod map[string]map[string]int
	// SingleHomed are those of the keys that a pod which answered has in its State.SingleHomed.
	SingleHomed map[string]bool
}

// Query are questions to other pods, put once for each ID.
type Query struct {
	ID uint64
	// Keys are the keys to ask each pod for.
	Keys map[string][]string
}

// Drain is a connection that leaves now.
type Drain struct {
	ID     uint64
	Reason reason.Reason
	Why    string
}

// Step is what to do now.
type Step struct {
	Verdict Verdict
	// Why is a sentence for a person. It changes only when the situation does.
	Why string
	// Drains leave now.
	Drains []Drain
	// Query, if not nil, is to be asked; the answers go into View.Counts.
	Query *Query
	// Notes are decisions worth a line in the log, each once.
	Notes []Note
	// Wake is when planning has something to do again, at the latest; 0: only when
	// the view changes.
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
	// Generation counts the growths taken note of.
	Generation uint64

	seen       []string // the membership as last seen
	seenAt     time.Duration
	changes    [5]time.Duration // when it changed, the latest first; 0: not that often yet
	came, went time.Duration    // when pods last did; 0: never
	settled    []string         // the membership last acted upon
	stayed     []string         // those of settled that were there all the time since
	started    bool
	joining    bool // new, and DNS has not been seen in full yet
	told       bool // spread clients have been told of all pods: the last growth came to its end

	growth    *growth
	sticky    map[string]bool // clients that did not come back; never changed, only replaced
	unreached int
	asks      uint64
	pace      pacer
	age       ager
	even      evener
	reaching  bool
	own       []*Conn // a buffer
}

// Next decides. It does not keep v, and returns s changed.
func Next(s State, v *View, p *Policy) (State, Step) {
	var st Step
	s.pace.observe(v)
	s.age.next(v, p, &st)
	s.rebalance(v, p, &st)
	return s, st
}

// Growing reports whether Next needs View.Conns and View.Gate for these members: a growth
// is under way, or may be found in this step, or this pod is new.
func (s *State) Growing(members []string) bool {
	return s.growth != nil || s.joining || !slices.Equal(s.stayed, members)
}

// Unreached is how many connections' clients had not come to the new pods when the last
// growth was given up; 0 once another has begun.
func (s *State) Unreached() int { return s.unreached }

// SingleHomed are the keys of clients that reach asked to leave, of late, and that did not come
// back as spread ones do. Who asks for their counts shall be told of it, too: this pod has seen
// it, others can only guess. The map is never changed.
func (s *State) SingleHomed() map[string]bool { return s.sticky }

// rebalance runs the rules that move connections between pods.
func (s *State) rebalance(v *View, p *Policy, st *Step) {
	s.reaching = false
	switch {
	case !p.Enabled:
		s.forget()
		st.is(Disabled, "rebalance.enabled is false: nothing is moved, the backstop age stays in force")
	case v.NoPeers != "":
		s.forget()
		st.is(Disabled, v.NoPeers)
	case v.Stale != "":
		// Fail static: what was under way is dropped, not finished on an old view.
		s.drop(st, "dropped: the view of the peers became stale")
		s.even.drop()
		st.is(Stale, v.Stale)
	default:
		s.watch(v, p, st)
		if s.growth == nil && v.Now-s.seenAt >= roundsLast(v, p) {
			s.sticky = nil
		}
		s.reach(v, p, st)
		s.reaching = s.growth.reaching(v.Now)
		s.evenness(v, p, st)
	}
}

func (st *Step) is(v Verdict, why string) { st.Verdict, st.Why = v, why }

func (st *Step) note(action string, n int, format string, args ...any) {
	st.Notes = append(st.Notes, Note{Action: action, Count: n, Why: fmt.Sprintf(format, args...)})
}

// wakeAt asks to plan again at t at the latest.
func (st *Step) wakeAt(t, now time.Duration) {
	d := max(t-now, time.Millisecond)
	if st.Wake == 0 || d < st.Wake {
		st.Wake = d
	}
}

// forget returns to the start: when planning is switched on again, the
// membership of then is the one to compare with.
func (s *State) forget() {
	s.growth = nil
	s.even = evener{}
	s.started, s.joining, s.told = false, false, false
	s.seen, s.settled, s.stayed, s.sticky = nil, nil, nil, nil
}

func (s *State) drop(st *Step, why string) {
	if s.growth != nil {
		st.note("abandoned", len(s.growth.queue), "%s", why)
		s.growth = nil
	}
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
