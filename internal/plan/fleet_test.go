package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// fleet is a Service whose pods each plan on a state of their own, with the clients that
// are connected to them.
type fleet struct {
	now    time.Duration
	policy Policy
	rand   *rand.Rand

	pods     []string
	states   map[string]State
	verdicts map[string]Verdict
	conns    map[string][]Conn // by pod
	counts   map[string]*Counts
	born     map[string]time.Duration
	starts   map[string]int            // how often each pod has restarted
	known    map[string]map[string]int // what each pod knows of starts

	dns     []string
	dnsFull time.Duration // since when dns lists all pods

	channels    []*channel               // of multi-homed clients
	singleHomed map[uint64]*singleClient // by connection
	nextID      uint64
	drainingPod string // the pod that is draining a channel's connection just now

	reports    map[string]Peer // of the last whole second
	reportedAt time.Duration
	returns    map[string]Returns

	blind, stale       bool // pods cannot be queried; the view of the members is stale
	silent, overloaded map[string]bool
	starting           int      // how many pods are about to become members
	stopping           []string // pods that scaleTo removed: they drain their clients
	unheard            int      // how many more pods are listed and do not answer
	noGate             bool

	share, warm map[string]float64 // what is not set counts as 1
	zones       map[string]string  // by pod
	out         map[string]string  // why a living pod is not listed
	outAt       map[string]time.Duration
	flight      map[string][]flying
	revisions   int
	departed    map[string]uint64
	hook        func(pod string, st *Step) // sees each step

	goaways map[reason.Reason]int
	sentAt  []time.Duration // when each GOAWAY was sent
	tooSoon int             // GOAWAYs to connections in their cooldown
	heard   map[string]bool // sentences, see hear
}

func newFleet(pods, channels, keys int) *fleet {
	f := &fleet{
		now: time.Hour, rand: rand.New(rand.NewPCG(1, 2)),
		states: map[string]State{}, verdicts: map[string]Verdict{}, conns: map[string][]Conn{}, counts: map[string]*Counts{},
		born: map[string]time.Duration{}, starts: map[string]int{}, known: map[string]map[string]int{},
		singleHomed: map[uint64]*singleClient{}, reports: map[string]Peer{}, returns: map[string]Returns{}, goaways: map[reason.Reason]int{},
		heard: map[string]bool{}, out: map[string]string{}, outAt: map[string]time.Duration{}, flight: map[string][]flying{}, departed: map[string]uint64{},
		policy: Policy{
			Enabled: true, Settle: 2 * time.Second, Spread: 2 * time.Second, Cooldown: 30 * time.Second,
			MaxPerSecond: 100, MaxFractionPerMinute: 1, CheckAfter: DefaultCheckAfter, MaxRounds: DefaultMaxRounds,
			Tolerance: 0.1, Floor: 0.7, Whole: true,
		},
	}
	f.scale(pods)
	f.resolveAll()
	for i := range channels {
		f.addChannel(fmt.Sprintf("key-%d", i%keys))
	}
	return f
}

func (f *fleet) scale(n int) {
	for len(f.pods) < n {
		pod := fmt.Sprintf("10.0.0.%02d", len(f.pods)+1)
		f.pods, f.born[pod] = append(f.pods, pod), f.now
	}
	f.pods = slices.Clone(f.pods[:n])
}

// resolveAll lets DNS list all pods.
func (f *fleet) resolveAll() { f.dns, f.dnsFull = f.members(), f.now }

// members are the pods that the Service lists.
func (f *fleet) members() []string {
	if len(f.out) == 0 {
		return f.pods
	}
	return slices.DeleteFunc(slices.Clone(f.pods), func(pod string) bool { return f.out[pod] != "" })
}

// outAfter is how long a pod that lives must be missing before it counts as out.
const outAfter = 30 * time.Second

// unlist takes living pods out of the Service, and relist puts them back.
func (f *fleet) unlist(pods ...string) {
	for _, pod := range pods {
		f.out[pod], f.outAt[pod] = "the Service does not list this pod, although it lives", f.now
	}
	f.resolveAll()
}

func (f *fleet) relist(pods ...string) {
	for _, pod := range pods {
		delete(f.out, pod)
	}
	f.resolveAll()
}

// noEvenness leaves evenness without anything to do.
func (f *fleet) noEvenness() { f.policy.Tolerance, f.policy.Floor = 1, 0 }

func (f *fleet) run(d time.Duration) { f.runBy(100*time.Millisecond, d) }

// runBy lets all pods plan once in each step.
func (f *fleet) runBy(step, d time.Duration) {
	for end := f.now + d; f.now < end; {
		f.step(step)
	}
}

func (f *fleet) step(d time.Duration) {
	f.now += d
	f.resolveDue()
	f.report()
	for _, pod := range f.pods {
		f.plan(pod)
	}
}

func (f *fleet) plan(pod string) {
	v := f.view(pod)
	s, st := Next(f.states[pod], v, &f.policy)
	f.hear(&st)
	if f.hook != nil {
		f.hook(pod, &st)
	}
	f.states[pod], f.verdicts[pod] = s, st.Verdict
	for _, m := range st.Drains {
		f.goaway(pod, m)
	}
	if st.Query != nil {
		f.counts[pod] = f.answer(st.Query)
	}
}

func (f *fleet) view(pod string) *View {
	v := &View{
		Now: f.now, Self: pod, Members: slices.Sorted(slices.Values(f.members())), Conns: f.conns[pod], Counts: f.counts[pod],
		Gate:  Gate{Needed: true, Open: slices.Equal(f.dns, f.members()), OpenSince: f.dnsFull, Why: "hello.test lists too few pods"},
		Share: f.share[pod], Warm: f.warm[pod], Zones: f.zones, Out: f.out[pod], OutPods: len(f.out), Revisions: f.revisions,
		InFlight: f.inFlight(pod), Departed: f.departed[pod],
		Starting: f.starting, Stopping: f.stopping, Unheard: f.unheard, Peers: f.peers(pod), Returns: f.returns[pod], Restarted: f.restarted(pod), Uptime: map[string]time.Duration{},
	}
	if f.noGate {
		v.Gate = Gate{}
	}
	if f.stale {
		v.Stale = "the view is too old"
	}
	if v.Out != "" && f.now < f.outAt[pod]+outAfter {
		v.Stale, v.Out = "the source no longer lists this pod", ""
	}
	v.Load, v.Serving = float64(len(v.Conns)), len(v.Conns)
	if f.overloaded[pod] {
		v.Overloaded = "too many streams are in flight"
	}
	for _, other := range f.pods {
		v.Uptime[other] = f.now - f.born[other]
	}
	return v
}

// restarted is what a pod learns from the others' uptimes.
func (f *fleet) restarted(pod string) []string {
	var out []string
	known := f.known[pod]
	f.known[pod] = map[string]int{}
	for _, other := range f.pods {
		if was, ok := known[other]; ok && was != f.starts[other] {
			out = append(out, other)
		}
		f.known[pod][other] = f.starts[other]
	}
	return out
}

// report renews what the pods know of each other, once a second.
func (f *fleet) report() {
	if f.now-f.reportedAt < time.Second {
		return
	}
	f.reportedAt = f.now
	for _, pod := range f.pods {
		s := f.states[pod]
		f.reports[pod] = Peer{
			Pod: pod, Load: float64(len(f.conns[pod])), Serving: len(f.conns[pod]), Reaching: s.Reaching(), Overloaded: f.overloaded[pod],
			InFlight: float64(len(f.flight[pod])), Share: share(f.share[pod]) * s.Relief(), Warm: f.warm[pod], Paused: s.Paused(),
		}
	}
}

func (f *fleet) peers(self string) []Peer {
	var out []Peer
	for _, pod := range slices.Sorted(slices.Values(f.members())) {
		if p, ok := f.reports[pod]; ok && pod != self && !f.blind && !f.silent[pod] {
			p.Age = f.now - f.reportedAt
			out = append(out, p)
		}
	}
	return out
}

// answer counts the connections that the queried pods hold.
func (f *fleet) answer(q *Query) *Counts {
	c := &Counts{Query: q.ID, ByPod: map[string]map[string]int{}, SingleHomed: map[string]bool{}}
	for pod, keys := range q.Keys {
		if f.blind || !slices.Contains(f.pods, pod) {
			continue
		}
		c.ByPod[pod] = map[string]int{}
		state := f.states[pod]
		for _, key := range keys {
			if state.SingleHomed()[key] {
				c.SingleHomed[key] = true
			}
			for _, conn := range f.conns[pod] {
				if conn.Key == key {
					c.ByPod[pod][key]++
				}
			}
		}
	}
	return c
}

// goaway closes a connection and lets its client connect again.
func (f *fleet) goaway(pod string, m Drain) {
	f.goaways[m.Reason]++
	f.sentAt = append(f.sentAt, f.now)
	f.conns[pod] = slices.DeleteFunc(f.conns[pod], func(c Conn) bool {
		if c.ID == m.ID && c.Returned && f.now-c.Opened < f.policy.Cooldown {
			f.tooSoon++
		}
		return c.ID == m.ID
	})
	f.redial(pod, m.ID, m.Reason)
	if c := f.singleHomed[m.ID]; c != nil && c.streams {
		f.flight[pod] = append(f.flight[pod], flying{m.ID, f.now})
		return
	}
	f.land(pod, m.ID)
}

// scaleTo scales. The clients of removed pods resolve again, as they do for any connection
// that breaks.
func (f *fleet) scaleTo(n int) {
	before := f.pods
	f.scale(n)
	f.stopping = without(before, f.pods)
	for _, pod := range before {
		if slices.Contains(f.pods, pod) {
			continue
		}
		delete(f.conns, pod)
		delete(f.states, pod)
		delete(f.known, pod)
		f.starts[pod]++
		for _, c := range f.channels {
			if _, ok := c.conns[pod]; ok {
				delete(c.conns, pod)
				c.resolveSoon(f.now)
			}
		}
	}
}
