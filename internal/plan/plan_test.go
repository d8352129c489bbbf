package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
	"pgregory.net/rapid"
)

// fleet is a service whose pods each run the planning on their own state, and
// clients that do what round_robin does: one connection to each pod they know,
// and a new look at DNS after each GOAWAY, at most every 30 s.
type fleet struct {
	now     time.Duration
	policy  Policy
	pods    []string
	states  map[string]State
	counts  map[string]*Counts
	dns     []string
	dnsFull time.Duration // since when dns has all pods
	chans   []*channel
	conns   map[string][]Conn // by pod
	goaways map[reason.Reason]int
	nextID  uint64
	moves   []time.Duration
	verdict map[string]Verdict
	blind   bool           // pods cannot be asked
	stale   bool           // the view of the members is
	starts  map[string]int // of each pod
	born    map[string]time.Duration
	looked  map[string]map[string]int // what each pod knows of starts

	asker   string          // the pod that has just asked a channel to leave
	told    map[string]Peer // the reports of the latest whole second
	toldAt  time.Duration
	returns map[string]Returns

	silent, overloaded map[string]bool

	starting int                      // pods that are about to serve
	tooSoon  int                      // GOAWAYs to connections in their cool-down
	sticky   map[uint64]*stickyClient // by connection
	rand     *rand.Rand
}

type channel struct {
	key       string
	known     []string // what it resolved last
	resolved  time.Duration
	resolveAt time.Duration // a request that waits; 0: none
	conns     map[string]uint64
	goaways   int
}

func newFleet(pods, channels, keys int) *fleet {
	f := &fleet{
		now: time.Hour, states: map[string]State{}, counts: map[string]*Counts{}, starts: map[string]int{}, born: map[string]time.Duration{}, looked: map[string]map[string]int{}, conns: map[string][]Conn{},
		goaways: map[reason.Reason]int{}, verdict: map[string]Verdict{}, told: map[string]Peer{}, returns: map[string]Returns{},
		sticky: map[uint64]*stickyClient{}, rand: rand.New(rand.NewPCG(1, 2)),
		policy: Policy{
			Enabled: true, Settle: 2 * time.Second, Spread: 2 * time.Second, Cooldown: 30 * time.Second,
			MaxPerSecond: 100, MaxFractionPerMinute: 1, CheckAfter: DefaultCheckAfter, MaxRounds: DefaultMaxRounds,
			Tolerance: 0.1, Floor: 0.7, Whole: true,
		},
	}
	f.scale(pods)
	f.resolveAll()
	for i := range channels {
		c := &channel{key: fmt.Sprintf("key-%d", i%keys), known: f.dns, resolved: f.now, conns: map[string]uint64{}}
		f.chans = append(f.chans, c)
		f.connect(c)
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

func (f *fleet) resolveAll() { f.dns, f.dnsFull = f.pods, f.now }

func (f *fleet) connect(c *channel) {
	for _, pod := range c.known {
		if _, ok := c.conns[pod]; ok || !slices.Contains(f.pods, pod) {
			continue
		}
		f.nextID++
		c.conns[pod] = f.nextID
		f.conns[pod] = append(f.conns[pod], Conn{ID: f.nextID, Key: c.key, Opened: f.now, Weight: 1, Returned: pod == f.asker})
	}
}

// goaway closes a connection and lets its channel do what grpc-go does: dial the same
// address again at once and resolve, but not within 30 s of the last time.
func (f *fleet) goaway(pod string, m Drain) {
	f.goaways[m.Reason]++
	f.moves = append(f.moves, f.now)
	f.conns[pod] = slices.DeleteFunc(f.conns[pod], func(c Conn) bool {
		if c.ID == m.ID && c.Returned && f.now-c.Opened < f.policy.Cooldown {
			f.tooSoon++
		}
		return c.ID == m.ID
	})
	for _, c := range f.chans {
		if c.conns[pod] == m.ID {
			c.goaways++
			delete(c.conns, pod)
			if c.resolveAt == 0 {
				c.resolveAt = max(f.now, c.resolved+30*time.Second)
			}
			f.asker = pod
			f.connect(c)
			f.asker = ""
		}
	}
	f.land(pod, m)
}

func (f *fleet) step(d time.Duration) {
	f.now += d
	for _, c := range f.chans {
		if c.resolveAt != 0 && f.now >= c.resolveAt {
			c.known, c.resolved, c.resolveAt = f.dns, f.now, 0
			f.connect(c)
		}
	}
	f.tell()
	for _, pod := range f.pods {
		f.plan(pod)
	}
}

func (f *fleet) plan(pod string) {
	v := &View{
		Now: f.now, Self: pod, Members: slices.Sorted(slices.Values(f.pods)), Conns: f.conns[pod], Counts: f.counts[pod],
		Gate: Gate{Needed: true, Open: slices.Equal(f.dns, f.pods), OpenSince: f.dnsFull, Why: "behind"},
	}
	v.Starting = f.starting
	if f.stale {
		v.Stale = "old"
	}
	v.Load, v.Serving = float64(len(v.Conns)), len(v.Conns)
	if f.overloaded[pod] {
		v.Overloaded = "hot"
	}
	v.Peers, v.Returns = f.peers(pod), f.returns[pod]
	v.Restarted, v.Uptime = f.restarted(pod), map[string]time.Duration{}
	for _, other := range f.pods {
		v.Uptime[other] = f.now - f.born[other]
	}
	s, st := Next(f.states[pod], v, &f.policy)
	f.states[pod], f.verdict[pod] = s, st.Verdict
	for _, m := range st.Drains {
		f.goaway(pod, m)
	}
	if st.Query != nil {
		f.counts[pod] = f.answer(st.Query)
	}
}

// restarted is what a pod learns from the others' uptimes.
func (f *fleet) restarted(pod string) []string {
	var out []string
	known := f.looked[pod]
	f.looked[pod] = map[string]int{}
	for _, other := range f.pods {
		if was, ok := known[other]; ok && was != f.starts[other] {
			out = append(out, other)
		}
		f.looked[pod][other] = f.starts[other]
	}
	return out
}

func (f *fleet) answer(a *Query) *Counts {
	c := &Counts{Query: a.ID, ByPod: map[string]map[string]int{}, SingleHomed: map[string]bool{}}
	for pod, keys := range a.Keys {
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

func (f *fleet) run(d time.Duration) { f.runBy(100*time.Millisecond, d) }

// runBy lets all pods plan once in each step.
func (f *fleet) runBy(step, d time.Duration) {
	for end := f.now + d; f.now < end; {
		f.step(step)
	}
}

func (f *fleet) even(t interface {
	Helper()
	Errorf(string, ...any)
},
) {
	t.Helper()
	for _, pod := range f.pods {
		if n := len(f.conns[pod]); n != len(f.chans) {
			t.Errorf("pod %s has %d connections, want one from each of %d channels", pod, n, len(f.chans))
		}
	}
}

func TestGrowthCostsOneGoAwayPerChannel(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ from, to, channels, keys int }{
		{2, 5, 100, 100},
		{2, 5, 20, 1}, // all from one address
		{1, 3, 100, 10},
		{10, 11, 200, 37},
		{3, 30, 60, 4},
	} {
		t.Run(fmt.Sprintf("%dto%d_%dchannels_%dkeys", tc.from, tc.to, tc.channels, tc.keys), func(t *testing.T) {
			f := newFleet(tc.from, tc.channels, tc.keys)
			f.run(time.Minute)
			f.scale(tc.to)
			f.resolveAll()
			f.run(10 * time.Minute)
			f.even(t)
			if got := f.goaways[reason.Reach]; got != tc.channels {
				t.Errorf("%d GOAWAYs for %d channels, want one each", got, tc.channels)
			}
			for _, pod := range f.pods {
				if f.verdict[pod] != Balanced {
					t.Errorf("pod %s: verdict %s, want balanced", pod, f.verdict[pod])
				}
			}
		})
	}
}

// Channels of the same address that have looked at DNS by themselves, just now, leave out none
// of the others: those would wait for the next round. Where most have, few are asked.
func TestWhoLookedByItselfLeavesNobodyOut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ looked, most, unreached int }{
		{0, 10, 0},
		{1, 10, 0},
		{5, 10, 0},
		{7, 3, 3},
		{10, 0, 0},
	} {
		t.Run(fmt.Sprintf("%d of 10", tc.looked), func(t *testing.T) {
			f := newFleet(1, 10, 1)
			f.run(time.Minute)
			f.scale(4)
			f.resolveAll()
			for _, c := range f.chans[:tc.looked] {
				c.known, c.resolved = f.dns, f.now
				f.connect(c)
			}
			f.run(40 * time.Second)
			unreached := 0
			for _, c := range f.chans {
				if len(c.conns) < 4 {
					unreached++
				}
			}
			if n := f.goaways[reason.Reach]; n > tc.most || unreached > tc.unreached {
				t.Errorf("%d GOAWAYs, %d channels do not know the new pods", n, unreached)
			}
		})
	}
}

// What may go wrong one after the other: growth in steps, pods that leave, DNS that lags.
func TestAnyHistoryEndsEvenAndBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		channels := rapid.IntRange(1, 30).Draw(t, "channels")
		f := newFleet(rapid.IntRange(1, 4).Draw(t, "pods"), channels, rapid.IntRange(1, channels).Draw(t, "keys"))
		f.run(40 * time.Second)
		growths := 0
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			n := rapid.IntRange(1, 8).Draw(t, "scale to")
			if n > len(f.pods) {
				growths++
			}
			f.scaleTo(n)
			f.run(time.Duration(rapid.IntRange(0, 20).Draw(t, "dns lag")) * time.Second)
			f.resolveAll()
			f.run(time.Duration(rapid.IntRange(0, 120).Draw(t, "pause")) * time.Second)
		}
		f.run(5 * time.Minute)
		// Behind one address nobody can tell which channel is the one that has not come:
		// three rounds may guess wrong after a flap. Then it must be said.
		if !f.saysUnreached() {
			f.even(t)
		}
		for i, c := range f.chans {
			// One each, and a second where growths are so close that resolvers still wait.
			if c.goaways > 2*growths {
				t.Errorf("channel %d got %d GOAWAYs for %d growths (%v)", i, c.goaways, growths, f.goaways)
			}
		}
	})
}

func (f *fleet) saysUnreached() bool {
	for _, pod := range f.pods {
		if s := f.states[pod]; s.Unreached() > 0 {
			return true
		}
	}
	return false
}

// scaleTo scales; the clients of pods that leave resolve again, as they do for any
// connection that breaks.
func (f *fleet) scaleTo(n int) {
	before := f.pods
	f.scale(n)
	for _, pod := range before {
		if slices.Contains(f.pods, pod) {
			continue
		}
		delete(f.conns, pod)
		delete(f.states, pod)
		delete(f.looked, pod)
		f.starts[pod]++
		for _, c := range f.chans {
			if _, ok := c.conns[pod]; ok {
				delete(c.conns, pod)
				if c.resolveAt == 0 {
					c.resolveAt = max(f.now, c.resolved+30*time.Second)
				}
			}
		}
	}
}

func TestNothingBeforeDNSAnswersInFull(t *testing.T) {
	f := newFleet(2, 20, 20)
	f.run(time.Minute)
	f.scale(5)
	f.run(20 * time.Second)
	if n := f.goaways[reason.Reach]; n != 0 {
		t.Fatalf("%d GOAWAYs before DNS answered in full", n)
	}
	for _, pod := range []string{"10.0.0.01", "10.0.0.05"} { // an old one and a new one
		if f.verdict[pod] != Waiting {
			t.Errorf("pod %s: verdict %s, want waiting", pod, f.verdict[pod])
		}
	}
	f.resolveAll()
	f.run(5 * time.Second)
	f.even(t)
	if n := f.goaways[reason.Reach]; n != 20 {
		t.Errorf("%d GOAWAYs, want 20", n)
	}
}

func TestBlindPodsTellOnce(t *testing.T) {
	f := newFleet(2, 20, 20)
	f.blind = true
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.run(5 * time.Minute)
	f.even(t)
	if n := f.goaways[reason.Reach]; n != 20 {
		t.Errorf("%d GOAWAYs, want 20", n)
	}
}

// A fleet of connections opened in one moment must not leave in one.
func TestAgeNeverTakesMoreThanATenthInASecond(t *testing.T) {
	for _, tc := range []struct {
		n   int
		age time.Duration
	}{{100, 30 * time.Second}, {100, 30 * time.Minute}, {2000, time.Minute}, {7, 10 * time.Second}} {
		t.Run(fmt.Sprintf("%d_%v", tc.n, tc.age), func(t *testing.T) {
			f := newFleet(1, tc.n, tc.n)
			f.policy.MaxAge = tc.age
			f.run(4 * tc.age)
			if f.goaways[reason.Age] < 2*tc.n {
				t.Errorf("%d left in four ages, want at least twice %d", f.goaways[reason.Age], tc.n)
			}
			if most := mostInASecond(f.moves); most > max(1, tc.n/10) {
				t.Errorf("%d of %d left within one second", most, tc.n)
			}
		})
	}
}

func mostInASecond(at []time.Duration) int {
	most, from := 0, 0
	for i := range at {
		for at[i]-at[from] >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

func TestKillSwitchStopsAtOnceAndKeepsTheAge(t *testing.T) {
	f := newFleet(2, 200, 200)
	f.run(time.Minute)
	f.scale(5)
	f.resolveAll()
	f.run(3 * time.Second)
	begun := f.goaways[reason.Reach]
	if begun == 0 || begun == 200 {
		t.Fatalf("%d GOAWAYs: the switch must be thrown in the middle", begun)
	}
	f.policy.Enabled = false
	f.policy.MaxAge = time.Minute
	f.run(5 * time.Minute)
	if got := f.goaways[reason.Reach]; got != begun {
		t.Errorf("%d more GOAWAYs after the switch", got-begun)
	}
	if f.goaways[reason.Age] == 0 {
		t.Error("the backstop age stopped, too")
	}
	if f.verdict["10.0.0.01"] != Disabled {
		t.Errorf("verdict %s, want disabled", f.verdict["10.0.0.01"])
	}
}

func TestBudgetsBoundTheRate(t *testing.T) {
	f := newFleet(1, 100, 1)
	f.policy.MaxPerSecond = 5
	f.policy.MaxFractionPerMinute = 0.2
	f.run(time.Minute)
	f.scale(2)
	f.resolveAll()
	f.run(50 * time.Second)
	if n := f.goaways[reason.Reach]; n != 20 {
		t.Errorf("%d GOAWAYs in the first minute, want a fifth of 100", n)
	}
	if most := mostInASecond(f.moves); most > 6 {
		t.Errorf("%d GOAWAYs in a second, want 5", most)
	}
	f.run(10 * time.Minute)
	f.even(t)
}

func TestStaleViewDropsWhatWasUnderWay(t *testing.T) {
	var s State
	p := Policy{Enabled: true, Settle: time.Second, Spread: 10 * time.Second, MaxPerSecond: 100, MaxFractionPerMinute: 1, MaxRounds: 3, CheckAfter: DefaultCheckAfter}
	v := &View{Self: "a", Members: []string{"a"}}
	for i := range 100 {
		v.Conns = append(v.Conns, Conn{ID: uint64(i + 1), Key: "k"})
	}
	next := func(d time.Duration) Step {
		v.Now += d
		var st Step
		s, st = Next(s, v, &p)
		if st.Query != nil {
			v.Counts = &Counts{Query: st.Query.ID, ByPod: map[string]map[string]int{"b": {}}}
		}
		return st
	}
	next(time.Hour)
	next(2 * time.Second)
	v.Members = []string{"a", "b"}
	next(time.Second)
	next(2 * time.Second)
	if st := next(time.Second); len(st.Drains) == 0 || st.Verdict != Moving {
		t.Fatalf("not moving: %+v", st)
	}
	v.Stale = "too old"
	if st := next(time.Second); len(st.Drains) != 0 || st.Verdict != Stale {
		t.Fatalf("acts on a stale view: %+v", st)
	}
	v.Stale = ""
	for range 100 {
		if st := next(time.Second); len(st.Drains) != 0 {
			t.Fatalf("goes on with an old queue: %+v", st)
		}
	}
}

// 10,000 connections and 50 pods: the moments in which planning looks at every connection,
// and the seconds in between. No number of allocations may grow with the connections: compare
// with conns=1000.
func BenchmarkPlan(b *testing.B) {
	for _, conns := range []int{1000, 10_000} {
		v, p := benchView(50, conns)
		grown := *v
		v.Members = v.Members[:49]
		s, _ := Next(State{}, v, p)
		s, _ = Next(s, &grown, p)
		b.Run(fmt.Sprintf("at=growth/conns=%d", conns), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g := *s.growth
				g.phase, g.round = atGate, 1
				c := s
				c.growth = &g
				Next(c, &grown, p)
			}
		})
		s.growth = nil
		b.Run(fmt.Sprintf("at=rest/conns=%d", conns), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Next(s, &grown, p)
			}
		})
		full := grown
		full.Load *= 1.3
		b.Run(fmt.Sprintf("at=uneven/conns=%d", conns), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := s
				c.even.out, c.even.outSince, c.changedAt = true, 0, 0
				if _, st := Next(c, &full, p); st.Query == nil {
					b.Fatal("nothing chosen: " + st.Why)
				}
			}
		})
	}
}

// benchView is the view of one of many pods that are equally full.
func benchView(pods, conns int) (*View, *Policy) {
	v := &View{Now: time.Hour, Load: float64(conns), Serving: conns}
	for i := range pods {
		pod := fmt.Sprintf("10.0.0.%02d", i)
		v.Members = append(v.Members, pod)
		if i > 0 {
			v.Peers = append(v.Peers, Peer{Pod: pod, Age: time.Second / 2, Load: v.Load})
		}
	}
	v.Self = v.Members[0]
	for i := range conns {
		v.Conns = append(v.Conns, Conn{ID: uint64(i + 1), Key: fmt.Sprintf("10.1.%d.%d", i/250, i%250), Weight: 1})
	}
	return v, &Policy{
		Enabled: true, MaxPerSecond: 100, MaxFractionPerMinute: 1, Spread: time.Second, MaxRounds: 3,
		CheckAfter: DefaultCheckAfter, Tolerance: 0.1, Floor: 0.7, Whole: true, Cooldown: 30 * time.Second,
	}
}

// A service that grows pod by pod, faster than a growth is over: still one GOAWAY per
// channel and growth, from the pods that all agree on.
func TestGrowthInSteps(t *testing.T) {
	f := newFleet(2, 40, 40)
	f.run(3 * time.Minute)
	for n := 3; n <= 8; n++ {
		f.scale(n)
		f.resolveAll()
		f.run(40 * time.Second)
	}
	f.run(5 * time.Minute)
	f.even(t)
	if n, want := f.goaways[reason.Reach], 6*40; n != want {
		t.Errorf("%d GOAWAYs for 40 channels and 6 growths, want %d", n, want)
	}
}

// Pods that become ready one after the other cost one GOAWAY per channel together, where
// it is known that more are coming. One that never comes costs a moment only.
func TestGrowthAwaitsWhoIsStarting(t *testing.T) {
	f := newFleet(2, 40, 40)
	f.run(3 * time.Minute)
	for n := 3; n <= 5; n++ {
		f.scale(n)
		f.resolveAll()
		f.starting = 6 - n
		f.run(8 * time.Second)
		if n < 5 && f.goaways[reason.Reach] != 0 {
			t.Fatalf("%d GOAWAYs with %d pods starting", f.goaways[reason.Reach], f.starting)
		}
	}
	f.run(4 * time.Second)
	if f.goaways[reason.Reach] != 0 {
		t.Error("the sixth pod was not waited for")
	}
	f.run(30 * time.Second)
	f.even(t)
	if n := f.goaways[reason.Reach]; n != 40 {
		t.Errorf("%d GOAWAYs for 40 channels, want 40", n)
	}
}

func TestEstablished(t *testing.T) {
	up := map[string]time.Duration{"a": time.Hour, "b": longServing, "c": longServing - 1, "young": 40 * time.Second, "as young": 39 * time.Second, "baby": time.Second}
	for _, tc := range []struct{ pods, want []string }{
		{[]string{"a", "b", "c"}, []string{"a", "b"}},
		{[]string{"as young", "baby", "young"}, []string{"as young", "young"}},
		{[]string{"baby"}, []string{"baby"}},
		{[]string{"a", "unknown"}, []string{"a", "unknown"}},
		{nil, nil},
	} {
		if got := established(tc.pods, up); !slices.Equal(got, tc.want) {
			t.Errorf("%v: %v, want %v", tc.pods, got, tc.want)
		}
	}
}
