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
	// DefaultInterval is the default of Options.Interval.
	DefaultInterval = 5 * time.Second
	// MinInterval is the minimum of Options.Interval.
	MinInterval = 100 * time.Millisecond

	// quickInterval is the time between lookups for quickFor after the start and after each
	// change of the answer, if Interval is longer: more changes are likely then.
	quickInterval = time.Second
	quickFor      = 30 * time.Second
)

// Options configure a Source. Only Name is required.
type Options struct {
	// Name is a name with the A and AAAA records of the pods, or with SRV records if it
	// begins with an underscore. A dot at its end saves the queries of the search list. That
	// of a Kubernetes Service, such as hello-headless.shop.svc, is completed by the domain of
	// the cluster. Required.
	Name string
	// Server is the DNS server, "host" or "host:port" (default port 53). Default empty: the
	// servers of the system.
	Server string
	// Interval is the time from one answer to the next lookup, plus or minus a tenth, so
	// that the lookups of all pods do not stay in step. For 30 s after the start and after
	// each change of the answer it is 1 s at most. Default 0: DefaultInterval.
	// Minimum: MinInterval.
	Interval time.Duration
	// Unproven makes members count only while their health endpoints answer. Set it for a
	// name whose records are kept by hand, or for that of a Service with
	// publishNotReadyAddresses. Default false: a pod that does not answer is a reason to
	// wait, since the name of a headless Service has only ready pods.
	Unproven bool
	// Logger logs each change of the number of pods or of the failure, once. Default nil:
	// silent.
	Logger *slog.Logger
}

// resolver is the part of lookup.Resolver that Source uses.
type resolver interface {
	lookup.Lookuper
	SRV(ctx context.Context, name string) ([]lookup.Target, error)
}

// Source reports the addresses of a name. Create it with New; the zero value is not valid.
type Source struct {
	opts     Options
	resolver resolver
	last     outcome

	resolvConf string
	name       string         // the complete one, as of Run
	members    []peers.Member // of the last good answer
	quickUntil time.Time
}

var _ peers.Source = (*Source)(nil)

// outcome is the part of a view whose changes are logged.
type outcome struct {
	members int
	failure string
}

// New returns a Source for a name. It fails without a Name, with an Interval below
// MinInterval, or with a Server that cannot be an address. The error joins all mistakes:
// correct opts.
func New(opts Options) (*Source, error) {
	res, errServer := lookup.New(opts.Server)
	var errs []error
	if opts.Name == "" {
		errs = append(errs, errors.New("the name is empty"))
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
	return &Source{opts: opts, resolver: res.Strict(), resolvConf: lookup.SystemResolvConf, name: opts.Name}, nil
}

// String names the source for people, such as "dns hello.test".
func (s *Source) String() string {
	if s.opts.Server != "" {
		return "dns " + s.opts.Name + " at " + s.opts.Server
	}
	return "dns " + s.opts.Name
}

// Run looks up the name at once and then every Interval, until ctx is done. It then returns
// the error of ctx. It reports each answer, even an unchanged one, since an answer renews the
// view. It reports a failed lookup by Membership.Err and tries again. Only one Run may be
// active at a time.
func (s *Source) Run(ctx context.Context, report func(peers.Membership)) error {
	s.name, s.quickUntil = lookup.Complete(s.opts.Name, s.resolvConf), time.Now().Add(quickFor)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		view := s.lookup(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.logChange(view)
		report(view)
		timer.Reset(jitter(s.interval(&view)))
	}
}

// interval returns the time until the next lookup.
func (s *Source) interval(view *peers.Membership) time.Duration {
	if view.Err == nil && !slices.EqualFunc(s.members, view.Members, sameAddrs) {
		s.members, s.quickUntil = view.Members, time.Now().Add(quickFor)
	}
	if time.Now().Before(s.quickUntil) {
		return min(s.opts.Interval, quickInterval)
	}
	return s.opts.Interval
}

func sameAddrs(a, b peers.Member) bool { return slices.Equal(a.Addrs, b.Addrs) }

// jitter returns d, randomly up to a tenth shorter or longer.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

func (s *Source) lookup(ctx context.Context) peers.Membership {
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
		view.Err = fmt.Errorf("DNS has no addresses for name %q", s.opts.Name)
	}
	return view
}

// clientName returns the name that clients are assumed to resolve: the name itself, or the
// one behind that of SRV records. With a server of its own, the name may be unknown to
// clients.
func (s *Source) clientName() string {
	if s.opts.Server != "" {
		return ""
	}
	return lookup.Host(s.name)
}

// unusable reports whether a cannot be the address of a pod. Some DNS filters answer with
// 0.0.0.0, which would stand for this pod.
func unusable(a netip.Addr) bool { return a.IsUnspecified() || a.IsMulticast() }

func (s *Source) byAddress(ctx context.Context) ([][]netip.Addr, error) {
	addrs, err := s.resolver.Addrs(ctx, s.name)
	pods := make([][]netip.Addr, len(addrs))
	for i, a := range addrs {
		pods[i] = []netip.Addr{a}
	}
	return pods, err
}

// bySRV groups the addresses of a target, and drops those that an earlier target has: a
// Service with several ports of one name has a record for each.
func (s *Source) bySRV(ctx context.Context) ([][]netip.Addr, error) {
	targets, err := s.resolver.SRV(ctx, s.name)
	seen := make(map[netip.Addr]bool)
	var pods [][]netip.Addr
	for _, t := range targets {
		for _, addrs := range lookup.Pods(t.Addrs) {
			pods = append(pods, slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
				duplicate := seen[a]
				seen[a] = true
				return duplicate
			}))
		}
	}
	return pods, err
}

// logChange logs the view if its outcome has changed.
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
		s.opts.Logger.Warn("cannot find peers by DNS", "name", s.opts.Name, "error", view.Err)
		return
	}
	s.opts.Logger.Info("found peers by DNS", "name", s.opts.Name, "pods", len(view.Members))
}
