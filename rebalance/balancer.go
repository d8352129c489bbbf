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
	"github.com/evenkeel-go/evenkeel/internal/certs"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/peerview"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers/dns"
)

// linger is how long a drained, idle connection is left for its client to close. Most
// clients close it within that time, and TIME_WAIT is then on their side.
const linger = time.Second

// ErrRunning is returned by Run while another Run of the same Balancer is in progress, since
// a Balancer has one loop. Call Run once.
var ErrRunning = errors.New("rebalance: Run is already running")

// Balancer decides which connections of one process are drained, and when. Make it with
// [Load] or [New], hand it to serveropts.Options and to package health, and call Run.
//
// Several servers of a process may share a Balancer; [Balancer.Shutdown] takes all of them.
// Its methods may be called from any goroutine.
type Balancer struct {
	opts      options
	reg       *conns.Registry
	peers     *peerview.Book
	clientDNS clientDNS
	certs     *certs.Store // of peers.tls; nil for plain HTTP
	keys      keyIndex
	begun     time.Time
	loaded    *loaded // by Load; if nil, Run watches no file

	closeAtExpiry bool // the setting, which needs a restart
	expiries      expiries

	conds     conditions
	running   atomic.Bool
	ran       atomic.Bool // whether Run was ever called
	firstConn sync.Once
	strays    strays
	wake      chan struct{}
	stop      stop

	mu          sync.Mutex // guards what follows
	cfg         config.Config
	switches    config.Switches   // thrown by files; they stand above cfg
	dry         map[string]uint64 // the connections that a dry run would have drained, by reason
	verdict     Verdict
	why         string
	generation  uint64
	decisions   []Decision
	plans       uint64
	planTime    time.Duration
	overload    string // the signal by which this pod is overloaded, or empty; only the loop writes it
	reaching    bool
	planShares  shares          // what planning last said of it; the rest is computed where it is needed
	served      time.Time       // when this pod was first a member; zero before that
	singleHomed map[string]bool // see plan.State.SingleHomed

	loop loop // owned by Run
}

// loop is what only the goroutine of Run uses.
type loop struct {
	state     plan.State
	conns     []plan.Conn   // a buffer
	sampledAt time.Duration // when the loads were last sampled
	coresAt   time.Duration // when the CPU limit was last read
	badShare  string        // what is wrong with the share of WithShare, or empty
}

// New returns a Balancer for cfg, which it validates. Nothing runs before Run. New makes no
// source of peers: pass one with [WithPeers], or call [Load], which makes the one that the
// configuration names.
//
// It fails if a setting is invalid, if the files of peers.tls cannot be used, or if this
// pod's own address ($POD_IP or [WithSelf]) is not an IP address.
func New(cfg config.Config, opts ...Option) (*Balancer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Balancer{
		opts:  newOptions(opts),
		reg:   conns.NewRegistry(linger),
		begun: time.Now(),
		wake:  make(chan struct{}, 1),
		stop:  newStop(),
		dry:   map[string]uint64{},

		closeAtExpiry: cfg.Policy.CloseAtExpiry,

		cfg:     cfg,
		verdict: Waiting,
		why:     "Run has not planned yet",
	}
	b.conds.log = b.opts.log
	self, err := b.opts.self()
	if err != nil {
		return nil, err
	}
	if err := b.prepareTLS(&cfg.Peers.TLS); err != nil {
		return nil, err
	}
	b.peers = peerview.New(b.peerOptions(&cfg, self))
	b.prepareShare()
	return b, b.clientDNS.prepare(&cfg)
}

// self returns the identity of this pod among its peers.
func (o *options) self() (peerview.Self, error) {
	self := peerview.Self{Pod: o.pod}
	if o.addr == "" {
		return self, nil
	}
	addr, err := netip.ParseAddr(o.addr)
	if err != nil {
		return self, fmt.Errorf("rebalance: this pod's own address ($POD_IP or WithSelf): %w", err)
	}
	self.Addr = addr.Unmap()
	return self, nil
}

func (b *Balancer) peerOptions(cfg *config.Config, self peerview.Self) peerview.Options {
	_, byName := b.opts.source.(*dns.Source)
	o := peerview.Options{
		ByName: byName,
		Self:   self, Source: b.opts.source, Port: cfg.Peers.Port, Salt: cfg.Peers.Salt, Ready: b.ready, Revision: b.opts.revision,
		Events: peerview.Events{
			Changed:    b.poke,
			ClientName: b.clientDNS.learn,
			Warning:    func(text string) { b.conds.set(peersLimited, text) },
			Ended: func(err error) {
				b.conds.set(sourceEnded, "the source of peers has stopped and will not retry; fix the cause, then restart this pod: "+err.Error())
			},
		},
	}
	if b.certs != nil {
		o.TLS = b.certs.Client
	}
	return o
}

// Config returns the configuration as [Load], [New] and Apply have set it. It leaves out the
// switches that files throw ([config.Switches]), so that a program may change it and hand it to
// Apply: a switch that is ended later must not stay thrown. [Status] has Enabled and DryRun as
// they are in force.
func (b *Balancer) Config() config.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg
}

// inForce returns the configuration with the switches that files throw.
func (b *Balancer) inForce() config.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.switches.Over(b.cfg)
}

// Apply puts a changed configuration in force at once, such as one of Config. Setting
// rebalance.enabled to false is the kill switch. What a file throws stands above cfg while the
// file throws it, see [config.Switches]. Keys that need a restart keep their values, and the
// condition "restart-needed" names them. If cfg is invalid, Apply returns an error and changes
// nothing.
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
	b.conds.set(restartNeeded, restartText(late))
	b.decided("configured", 0, "a changed configuration is in force")
	b.poke()
	return nil
}

func restartText(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return fmt.Sprintf("changed keys take effect only after a restart of this pod: %v", keys)
}

// Run watches the peers, decides and acts until ctx is done, then returns nil. Call it
// once, in a goroutine of its own. Without it connections are tracked but never moved, and
// policy.maxConnectionAge and closeAtExpiry do nothing; the conditions not-running and
// run-ended show that. A Balancer made by [Load] also watches its configuration file.
func (b *Balancer) Run(ctx context.Context) error {
	if !b.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer b.runReturns()
	b.joinRunners()
	defer b.leaveRunners()
	b.ran.Store(true)
	b.conds.set(notRunning, "")
	b.conds.set(runEnded, "")
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if b.opts.source != nil {
		wg.Go(func() { b.peers.Run(ctx) })
		wg.Go(func() { b.clientDNS.run(ctx, b.poke) })
	}
	if l := b.loaded; l != nil {
		wg.Go(func() { _ = b.watch(ctx, l.layers, l.cfg) }) // it ends with ctx alone
		wg.Go(func() { _ = b.watchSwitches(ctx, l.layers) })
	}
	b.runLoop(ctx, &wg)
	return nil
}

func (b *Balancer) runLoop(ctx context.Context, wg *sync.WaitGroup) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-b.wake:
		}
		timer.Reset(b.step(ctx, wg))
	}
}

// step gathers a view, plans and acts once. It returns how long the loop may rest.
func (b *Balancer) step(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	rest := b.drainExpiring()
	if !b.ready() {
		b.standDown("this pod is stopping")
		return rest
	}
	b.sample()
	view, policy := b.view()
	start := time.Now()
	var step plan.Step
	b.loop.state, step = plan.Next(b.loop.state, view, policy)
	b.planned(view, &step, time.Since(start))
	for _, n := range step.Notes {
		b.decided(n.Action, n.Count, n.Why)
	}
	b.drain(step.Drains)
	if step.Query != nil {
		b.peers.Query(ctx, wg, step.Query)
	}
	b.publish(Verdict(step.Verdict), step.Why)
	b.watchConditions()
	b.watchPlace(view, policy)
	b.reg.Sweep()
	b.keys.drop()
	if step.Wake > 0 {
		return min(step.Wake, rest)
	}
	return rest
}

// standDown publishes that nothing is decided any more. It withdraws what only the loop renews:
// its conditions, and what it reports to peers.
func (b *Balancer) standDown(why string) {
	b.publish(Disabled, why)
	for _, code := range ofLoop {
		b.conds.set(code, "")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reaching, b.overload = false, ""
	b.planShares = shares{relief: 1}
}

// poke makes the loop take its next step now.
func (b *Balancer) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Balancer) planned(v *plan.View, step *plan.Step, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.loop.state
	b.plans++
	b.planTime += took
	for _, p := range step.Planned {
		b.dry[string(p.Reason)] += uint64(p.Count)
	}
	b.generation, b.reaching, b.singleHomed = s.Generation, s.Reaching(), s.SingleHomed()
	b.planShares = shares{relief: s.Relief(), paused: s.Paused(), inFlight: v.InFlight.Load, inFlightWeight: b.weight(&b.cfg)}
}

// publish sets the verdict that Status shows, and logs it if it has changed.
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

// decided logs a decision and keeps it for /statusz.
func (b *Balancer) decided(action string, count int, why string) {
	b.opts.log.Info("decision", "action", action, "count", count, "why", why)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.decisions) == keptDecisions {
		b.decisions = append(b.decisions[:0], b.decisions[1:]...)
	}
	b.decisions = append(b.decisions, Decision{At: time.Now(), Action: action, Count: count, Why: why})
}
