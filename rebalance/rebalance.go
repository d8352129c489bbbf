package rebalance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
	"github.com/evenkeel-go/evenkeel/peers"
)

// linger is how long a connection that has become quiet is left to its client to
// close: long enough for most to do it, so that the port in TIME_WAIT is theirs.
const linger = time.Second

// ErrRunning is returned by Run when it is already running: a Balancer has one loop.
var ErrRunning = errors.New("rebalance: Run is already running")

// Balancer decides which connections of one server leave, and when. Make it with
// New, hand it to serveropts.Options and health, and call Run.
//
// Its methods may be called from any goroutine.
type Balancer struct {
	opts      options
	reg       *conns.Registry
	clientDNS clientDNS
	self      netip.Addr // not valid: not known
	begun     time.Time

	conds     conditions
	running   atomic.Bool
	ran       atomic.Bool // it is or was
	firstConn sync.Once
	untracked atomic.Uint64
	wake      chan struct{}
	stopping  chan struct{}
	stopOnce  sync.Once

	peers peerBook

	mu         sync.Mutex
	cfg        config.Config
	healthPort int
	verdict    Verdict
	why        string
	generation uint64
	decisions  []DecisionRecord
	plans      uint64
	planTime   time.Duration
	overload   string // by which signal this pod is overloaded; written by the loop alone
	reaching   bool
	served     time.Time       // when this pod was first a member; zero: not yet
	sticky     map[string]bool // clients that are on one pod for sure, see plan.State.Sticky

	// Of the loop alone.
	state plan.State
	conns []plan.Conn

	sampled   time.Duration // when the loads were last looked at
	sampledBy string        // and by which weight
}

// New returns a Balancer for one server. It checks cfg as Config.Validate does; nothing runs
// before Run. It makes no source: cfg.Peers says which one the program is to make and hand to
// WithPeers.
func New(cfg config.Config, opts ...Option) (*Balancer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Balancer{
		opts:     newOptions(opts),
		reg:      conns.NewRegistry(linger),
		begun:    time.Now(),
		wake:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
		cfg:      cfg,
		verdict:  Waiting,
		why:      "Run has not planned yet",
	}
	b.conds.log = b.opts.log
	if err := b.findSelf(); err != nil {
		return nil, err
	}
	if d, ok := b.opts.source.(peers.Dialer); ok {
		b.peers.dialWith(d)
	}
	if err := b.preparePeers(&cfg); err != nil {
		return nil, err
	}
	return b, b.clientDNS.prepare(&cfg)
}

func (b *Balancer) findSelf() error {
	if b.opts.addr == "" {
		return nil
	}
	addr, err := netip.ParseAddr(b.opts.addr)
	if err != nil {
		return fmt.Errorf("rebalance: this pod's own address ($POD_IP or WithSelf): %w", err)
	}
	b.self = addr.Unmap()
	return nil
}

// Config returns the configuration in force.
func (b *Balancer) Config() config.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg
}

// Apply puts a changed configuration in force, at once; rebalance.enabled false is
// the kill switch. Keys that only a new process can take up are kept as they
// were, and a condition names them. An invalid cfg changes nothing and is
// returned as an error.
func (b *Balancer) Apply(cfg config.Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	b.mu.Lock()
	late := config.RestartNeeded(b.cfg, cfg)
	b.cfg.Rebalance = cfg.Rebalance
	b.cfg.Policy.MaxConnectionAge = cfg.Policy.MaxConnectionAge
	b.cfg.Policy.MaxConnectionAgeGrace = cfg.Policy.MaxConnectionAgeGrace
	b.mu.Unlock()
	b.conds.set("restart-needed", Info, 0, restartText(late))
	b.decided("configured", 0, "a changed configuration is in force")
	b.poke()
	return nil
}

func restartText(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return fmt.Sprintf("the configuration changed in keys that only a new process takes up: %v", keys)
}

// Run watches the peers, decides and acts until ctx is done, then returns nil. It
// is called once. Without it connections are tracked but never moved, and the
// backstop age does not act.
func (b *Balancer) Run(ctx context.Context) error {
	if !b.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer b.running.Store(false)
	b.ran.Store(true)
	b.conds.set("not-running", Error, 0, "")
	defer b.peers.close()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if b.opts.source != nil {
		wg.Go(func() { b.runSource(ctx) })
		wg.Go(func() { b.runPolls(ctx) })
		wg.Go(func() { b.clientDNS.run(ctx, b.poke) })
	}
	b.loop(ctx, &wg)
	return nil
}

// lookAgain is the longest pause between two looks, so that what changes without a
// signal (a view that ages) is noticed.
const lookAgain = time.Second

func (b *Balancer) loop(ctx context.Context, wg *sync.WaitGroup) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-b.wake:
		}
		timer.Reset(b.tick(ctx, wg))
	}
}

// tick looks, decides and acts once, and returns how long it may rest.
func (b *Balancer) tick(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	if !b.ready() {
		b.publish(Disabled, "this pod is stopping")
		return lookAgain
	}
	b.sample()
	view, policy := b.view()
	start := time.Now()
	var step plan.Step
	b.state, step = plan.Next(b.state, view, policy)
	b.planned(time.Since(start))
	b.act(&step)
	if step.Query != nil {
		b.peers.ask(ctx, wg, b, step.Query)
	}
	b.publish(Verdict(step.Verdict), step.Why)
	b.watchConditions()
	b.reg.Sweep()
	if step.Wake > 0 {
		return min(step.Wake, lookAgain)
	}
	return lookAgain
}

// act does what was decided.
func (b *Balancer) act(step *plan.Step) {
	for _, n := range step.Notes {
		b.decided(n.Action, n.Count, n.Why)
	}
	if len(step.Drains) == 0 {
		return
	}
	ids := make([]uint64, len(step.Drains))
	why := make(map[uint64]*plan.Drain, len(step.Drains))
	for i := range step.Drains {
		m := &step.Drains[i]
		ids[i], why[m.ID] = m.ID, m
	}
	cfg := b.Config()
	for _, c := range b.reg.Pick(ids) {
		m := why[c.ID()]
		grace := cfg.Rebalance.Grace
		if m.Reason == reason.Age {
			grace = cfg.Policy.MaxConnectionAgeGrace
		}
		c.Drain(m.Reason, m.Why, grace)
	}
}

// poke makes the loop look now.
func (b *Balancer) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Balancer) planned(took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plans++
	b.planTime += took
	b.generation, b.reaching, b.sticky = b.state.Generation, b.state.Reaching(), b.state.SingleHomed()
}

// publish shows the verdict; the log hears of changes only.
func (b *Balancer) publish(v Verdict, why string) {
	b.mu.Lock()
	changed := v != b.verdict
	b.verdict, b.why = v, why
	b.mu.Unlock()
	if changed {
		b.opts.log.Info("verdict", "verdict", v, "why", why)
	}
}

// keptDecisions is how many decisions /statusz shows.
const keptDecisions = 64

// decided books one decision, for the log and for /statusz.
func (b *Balancer) decided(action string, count int, why string) {
	b.opts.log.Info("decision", "action", action, "count", count, "why", why)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.decisions) == keptDecisions {
		b.decisions = append(b.decisions[:0], b.decisions[1:]...)
	}
	b.decisions = append(b.decisions, DecisionRecord{At: time.Now(), Action: action, Count: count, Why: why})
}
