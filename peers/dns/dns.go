package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/lookup"
	"github.com/evenkeel-go/evenkeel/peers"
)

const (
	// DefaultInterval is the time from one answer to the next lookup.
	DefaultInterval = time.Second
	// MinInterval is the least that Options.Interval may be.
	MinInterval = 100 * time.Millisecond
)

// Options say what to ask. Only Name is required.
type Options struct {
	// Name has A and AAAA records of the pods, or SRV records if it begins with an
	// underscore. A dot at its end spares the questions of the search list.
	Name string
	// Server is the DNS server, "host" or "host:port". Empty: the system's.
	Server string
	// Interval is the time from one answer to the next lookup, give or take a
	// tenth, so that pods do not ask in step. Zero: DefaultInterval; least:
	// MinInterval.
	Interval time.Duration
	// Unproven lets members count only while their health endpoints answer. The
	// name of a headless Service has ready pods alone, so that one that does not
	// answer is a reason to wait, not a pod less. Set it for a name whose
	// records are kept by hand, or of a Service with publishNotReadyAddresses.
	Unproven bool
	// Logger is told when answers change or fail. Nil: silent.
	Logger *slog.Logger
}

// resolver is what Source needs of lookup.Resolver.
type resolver interface {
	lookup.Lookuper
	SRV(ctx context.Context, name string) ([]lookup.Target, error)
}

// Source reports the addresses of a name.
type Source struct {
	opts     Options
	resolver resolver
	last     outcome
}

var _ peers.Source = (*Source)(nil)

// outcome is what is logged when it changes.
type outcome struct {
	members int
	failure string
}

// New returns a Source for a name. It joins all that is wrong with opts.
func New(opts Options) (*Source, error) {
	res, errServer := lookup.New(opts.Server)
	var errs []error
	if opts.Name == "" {
		errs = append(errs, errors.New("no name"))
	}
	if opts.Interval != 0 && opts.Interval < MinInterval {
		errs = append(errs, fmt.Errorf("interval %v is below %v", opts.Interval, MinInterval))
	}
	if err := errors.Join(append(errs, errServer)...); err != nil {
		return nil, fmt.Errorf("dns peers: %w", err)
	}
	opts.Interval = cmp.Or(opts.Interval, DefaultInterval)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{opts: opts, resolver: res.Strict()}, nil
}

// String names the source for people.
func (s *Source) String() string {
	if s.opts.Server != "" {
		return "dns " + s.opts.Name + " at " + s.opts.Server
	}
	return "dns " + s.opts.Name
}

// Run looks the name up at once and every Interval from then on, and reports each
// answer, changed or not: an answer is a renewal. It returns with ctx, and must
// not run twice at a time.
func (s *Source) Run(ctx context.Context, report func(peers.Membership)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		view := s.look(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.logChange(view)
		report(view)
		timer.Reset(jitter(s.opts.Interval))
	}
}

// jitter returns d, up to a tenth shorter or longer.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

func (s *Source) look(ctx context.Context) peers.Membership {
	find := s.byAddress
	if strings.HasPrefix(s.opts.Name, "_") {
		find = s.bySRV
	}
	pods, err := find(ctx)
	if err != nil {
		return peers.Membership{Err: err}
	}
	view := peers.Membership{ClientName: s.clientName()}
	for _, addrs := range pods {
		addrs = slices.DeleteFunc(addrs, unusable)
		if len(addrs) > 0 {
			view.Members = append(view.Members, peers.Member{Addrs: addrs, Unproven: s.opts.Unproven})
		}
	}
	if len(view.Members) == 0 {
		view.Err = fmt.Errorf("no addresses for name %q", s.opts.Name)
	}
	return view
}

// clientName is what clients are taken to resolve: the very name, or the one behind that of SRV
// records. Of a name that a server of its own knows it cannot be told.
func (s *Source) clientName() string {
	if s.opts.Server != "" {
		return ""
	}
	return lookup.Host(s.opts.Name)
}

// unusable tells whether a is the address of no pod. Filters answer with 0.0.0.0,
// which would be ourselves.
func unusable(a netip.Addr) bool { return a.IsUnspecified() || a.IsMulticast() }

func (s *Source) byAddress(ctx context.Context) ([][]netip.Addr, error) {
	addrs, err := s.resolver.Addrs(ctx, s.opts.Name)
	pods := make([][]netip.Addr, len(addrs))
	for i, a := range addrs {
		pods[i] = []netip.Addr{a}
	}
	return pods, err
}

// bySRV joins the addresses of a target, and drops those that two targets have: a
// Service with several ports of one name has a record for each.
func (s *Source) bySRV(ctx context.Context) ([][]netip.Addr, error) {
	targets, err := s.resolver.SRV(ctx, s.opts.Name)
	seen := make(map[netip.Addr]bool)
	var pods [][]netip.Addr
	for _, t := range targets {
		for _, addrs := range lookup.Pods(t.Addrs) {
			pods = append(pods, slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
				was := seen[a]
				seen[a] = true
				return was
			}))
		}
	}
	return pods, err
}

// logChange logs what is not as it was.
func (s *Source) logChange(view peers.Membership) {
	now := outcome{members: len(view.Members)}
	if view.Err != nil {
		now.failure = view.Err.Error()
	}
	if now == s.last {
		return
	}
	s.last = now
	if view.Err != nil {
		s.opts.Logger.Warn("DNS does not tell who serves", "name", s.opts.Name, "error", view.Err)
		return
	}
	s.opts.Logger.Info("DNS tells who serves", "name", s.opts.Name, "pods", len(view.Members))
}
