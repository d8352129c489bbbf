package world

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// Begin is the time at which a world starts, on its own clock. Its first pods have served since
// 0, for that long.
const Begin = time.Hour

// Config describes a world and determines everything that happens in it.
type Config struct {
	// Seed seeds the random numbers.
	Seed uint64
	// Pods is the number of pods at the beginning.
	Pods int
	// Groups are the clients. All are connected from the beginning, evenly placed.
	Groups []Group
	// Policy is the policy of every pod; DefaultPolicy is the one that ships.
	Policy plan.Policy
	// Next plans; nil means plan.Next.
	Next func(plan.State, *plan.View, *plan.Policy) (plan.State, plan.Step)
	// Net is the network. The zero value is a healthy cluster.
	Net Net
	// Requests makes requests per second the weight. Without it each connection weighs 1.
	Requests bool
	// Noise is by how much the weights vary: 0.2 is up to 20 % up or down, with a new value
	// every 30 s.
	Noise float64
	// Ready is the longest time from a pod's start until it is ready, 3 s by default. The
	// shortest time is a third of it.
	Ready time.Duration
	// MinWake is the shortest time between two plans of a pod; 0 means none. A world of a
	// million connections needs it. The pacer catches up on up to 250 ms.
	MinWake time.Duration
	// RestTick, if not 0, is how often a pod at rest plans and polls from RestFrom on, instead
	// of every second.
	RestTick time.Duration
	// RestFrom is a time since Begin.
	RestFrom time.Duration
	// Timed measures the time of each plan.Next. The caller must lock its thread.
	Timed bool
	// Sample is how often the loads are measured, 1 s by default.
	Sample time.Duration
	// Series keeps all samples of the loads, for plots.
	Series bool
	// Zones is the number of zones, in which the pods stand in turn; 0: there are none.
	Zones int
	// Attract returns how strongly a pod attracts connections through kube-proxy, as a pod that
	// is alone on its node does behind a balancer of nodes (externalTrafficPolicy: Local). Nil:
	// all the same.
	Attract func(pod int) float64
	// Limit is the number of connections above which a pod is overloaded, until a tenth of
	// them are gone, as with rebalance.maxStreams; 0: there is no limit.
	Limit int
	// Salt returns the salt with which a pod hashes keys; nil: all have the same.
	Salt func(pod int) int
	// Share returns the capacity of a pod, such as its cores; nil: all pods are alike. kube-proxy
	// does not know it.
	Share func(pod int) float64
	// Warmup is how long a new pod takes to warm up (rebalance.warmup); 0: no time.
	Warmup time.Duration
	// EndStreams is how long after its GOAWAY a connection's long streams are ended politely;
	// 0: never.
	EndStreams time.Duration
	// Counted, if not 0, is the number of groups, the first ones, whose connections make the
	// loads that are measured. Pods do not tell groups apart.
	Counted int
	// Transcript, if not nil, gets a line for each decision, each verdict that is new, and each
	// change of the fleet.
	Transcript func(at time.Duration, pod, what string)
	// Plain reports whether a pod serves without evenkeel; nil: none does.
	Plain func(pod int) bool
	// Report changes what a pod tells the others: a pod of another version leaves fields out,
	// a broken one lies. Nil: pods tell what is so.
	Report func(pod int, r *peerview.Summary)
	// Bound reports whether the loads are even, for the times to even. Nil means inside the
	// band.
	Bound func(*Distribution) bool
}

// World is a fleet and its clients.
type World struct {
	cfg    Config
	now    time.Duration
	rng    *rand.Rand
	events heap
	calls  []func()

	pods     []*pod
	versions []*version // all versions of the membership, as published by the API server
	pending  bool       // a new version will be published shortly
	dns      []dnsEntry
	proxies  []int32 // the version that each node's kube-proxy has applied
	caches   []time.Duration

	conns []conn
	free  []int32
	// measured are the burst factors of each of conns, if there are bursts.
	measured []smoothed
	serial   uint64
	keys     []string
	heads    []int32 // per key: its first connection
	pinned   []int32 // per key: the pod of session affinity
	clients  []client
	// channels are the addresses of each round_robin client, sorted by pod.
	channels [][]address

	blindUntil time.Duration // no pod can read the membership before
	outPods    int           // that know that the Service does not list them
	bursts     bool          // whether a group has Bursts
	lazy       bool          // whether a group is Lazy
	revision   int32
	lives      int // clients that ended

	levels []level   // reused for each sample
	view   plan.View // reused at each tick
	peers  []plan.Peer
	m      metrics
}

// New makes a world.
func New(cfg Config) *World {
	w := &World{cfg: cfg, now: Begin, rng: rand.New(rand.NewPCG(cfg.Seed, 0x65766e6b))}
	if w.cfg.Next == nil {
		w.cfg.Next = plan.Next
	}
	if w.cfg.Sample == 0 {
		w.cfg.Sample = time.Second
	}
	if w.cfg.Ready == 0 {
		w.cfg.Ready = 3 * time.Second
	}
	if w.cfg.Bound == nil {
		w.cfg.Bound = (*Distribution).inBand
	}
	w.cfg.Net = w.cfg.Net.withDefaults()
	w.m.init(w)
	for i := range cfg.Groups {
		w.bursts = w.bursts || cfg.Groups[i].Bursts.On > 0
		w.lazy = w.lazy || cfg.Groups[i].Lazy
	}
	for range cfg.Pods {
		p := w.newPod(0)
		p.ready, p.listed = true, true
	}
	w.openNet()
	for _, p := range w.pods {
		w.startLoops(p, w.now+w.upTo(time.Second))
	}
	for i := range cfg.Groups {
		w.addGroup(int16(i))
	}
	for _, p := range w.pods {
		w.sampleLoads(p)
	}
	w.push(evSample, w.now, 0, 0)
	return w
}

// Now is the time since Begin.
func (w *World) Now() time.Duration { return w.now - Begin }

// RunTo advances the time to t since Begin.
func (w *World) RunTo(t time.Duration) {
	end := Begin + t
	for len(w.events.all) > 0 && w.events.all[0].at <= end {
		e := w.events.pop()
		w.now = e.at
		w.handle(&e)
	}
	w.now = end
}

func (w *World) handle(e *event) {
	switch e.kind {
	case evCall:
		f := w.calls[e.a]
		w.calls[e.a] = nil
		f()
	case evTick:
		w.tickEvent(w.pods[e.a], e.b)
	case evPoll:
		w.poll(w.pods[e.a], e.b)
	case evPolled:
		w.polled(w.pods[e.a])
	case evView:
		w.viewArrives(w.pods[e.a], e.b)
	case evLook:
		w.lookAtMembers(w.pods[e.a], e.b)
	case evGate:
		w.gateLooks(w.pods[e.a], e.b)
	case evAnswers:
		w.answersArrive(w.pods[e.a], e.b)
	case evProxy:
		w.proxies[e.a] = max(w.proxies[e.a], e.b)
	case evDial:
		w.dial(e.a, e.b)
	case evResolve:
		w.resolve(e.a)
	case evClose:
		w.closeIf(e.a, e.c)
	case evDrain:
		w.drainAtShutdown(e.a, e.c)
	case evEnd:
		w.endClient(e.a)
	case evSample:
		w.sample()
		w.push(evSample, w.now+w.cfg.Sample, 0, 0)
	}
}

func (w *World) push(k kind, at time.Duration, a, b int32) {
	w.events.push(event{at: at, kind: k, a: a, b: b})
}

// after calls f once d has passed.
func (w *World) after(d time.Duration, f func()) {
	w.calls = append(w.calls, f)
	w.push(evCall, w.now+d, int32(len(w.calls)-1), 0)
}

// At calls f at t since Begin.
func (w *World) At(t time.Duration, f func()) { w.after(Begin+t-w.now, f) }

func (w *World) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rng.Int64N(int64(most-least)+1))
}

func (w *World) upTo(most time.Duration) time.Duration { return w.between(0, most) }

// Scale starts pods, or stops the youngest ones, until n are running.
func (w *World) Scale(n int) {
	for w.serving() < n {
		w.Start()
	}
	for i := len(w.pods) - 1; i >= 0 && w.serving() > n; i-- {
		if w.pods[i].alive() {
			w.Stop(i)
		}
	}
}

func (w *World) serving() int {
	n := 0
	for _, p := range w.pods {
		if p.alive() {
			n++
		}
	}
	return n
}

// Start starts a pod and returns its number. The pod is ready after a random time.
func (w *World) Start() int { return w.StartIn(w.between(w.cfg.Ready/3, w.cfg.Ready)) }

// StartIn starts a pod that is ready after d and returns its number.
func (w *World) StartIn(d time.Duration) int {
	p := w.newPod(w.now)
	w.startLoops(p, w.now)
	w.after(min(d/2, w.between(100*time.Millisecond, time.Second)), func() { w.getsAddress(p) })
	w.after(d, func() { w.becomesReady(p) })
	return int(p.idx)
}

// getsAddress puts a pod that is not ready yet into the endpoints.
func (w *World) getsAddress(p *pod) {
	if p.alive() && !p.starting && !p.ready {
		p.starting = true
		w.endpointsChanged()
	}
}

func (w *World) becomesReady(p *pod) {
	if p.alive() {
		p.ready, p.starting = true, false
		w.says(p, "is ready")
		w.endpointsChanged()
	}
}

// says adds a line of p to the transcript.
func (w *World) says(p *pod, what string) {
	if w.cfg.Transcript != nil {
		w.cfg.Transcript(w.Now(), strconv.Itoa(int(p.idx)), what)
	}
}

// Stop stops a pod as SIGTERM does: it becomes unready, drains its connections and exits.
func (w *World) Stop(i int) { w.stop(w.pods[i]) }

// Kill ends a pod at once. The endpoints drop it some seconds later.
func (w *World) Kill(i int) {
	p := w.pods[i]
	w.exit(p)
	w.after(w.between(time.Second, 10*time.Second), func() {
		p.ready = false
		w.endpointsChanged()
	})
}

// Alive returns the numbers of the running pods, the oldest first.
func (w *World) Alive() []int {
	var out []int
	for i, p := range w.pods {
		if p.alive() {
			out = append(out, i)
		}
	}
	return out
}

// Roll replaces all pods one by one: once per every a new pod becomes ready and then an old
// one stops. It returns the time since Begin at which the last one stops.
func (w *World) Roll(every time.Duration) time.Duration {
	w.revision++
	old := w.Alive()
	for i, pod := range old {
		w.after(time.Duration(i)*every, func() { w.StartIn(every - time.Second) })
		w.after(time.Duration(i+1)*every, func() { w.Stop(pod) })
	}
	return w.Now() + time.Duration(len(old))*every
}

func (w *World) podID(i int) string {
	return fmt.Sprintf("10.%03d.%03d.%03d", w.cfg.Seed%1000, i/250, i%250)
}
