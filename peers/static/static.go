package static

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/lookup"
	"github.com/evenkeel-go/evenkeel/peers"
)

const (
	// renew is the time between two reports. A fixed list always holds; a report only shows
	// that this process is alive.
	renew = 2 * time.Second
	// resolveEvery is the time after which a name is resolved again.
	resolveEvery = 30 * time.Second
	// timeout bounds the resolution of all names, and with it the time between two reports.
	timeout = 2 * time.Second
	// maxEntries is far above the length of any list that a person keeps.
	maxEntries = 10_000
)

// Source reports a fixed list of addresses. Create it with New; the zero value is not valid.
type Source struct {
	entries  []entry
	resolver lookup.Lookuper
}

var _ peers.Source = (*Source)(nil)

// entry is one entry of the list.
type entry struct {
	host  string
	port  int
	addrs []netip.Addr // the address, or the last good answer for a name
	err   error        // why there is no good answer yet
	due   time.Time    // when a name is resolved next; zero: now
	fixed bool         // host is an address
}

// New returns a Source of addrs, each "host" or "host:port". It fails if there is none, if
// there are more than 10,000, if any cannot be the address of a pod, or if two have the same
// host and different ports, since pods are told apart by their addresses. The error names
// each bad entry: correct them.
func New(addrs []string) (*Source, error) {
	if len(addrs) == 0 || len(addrs) > maxEntries {
		return nil, fmt.Errorf("static peers: %d addresses, want from 1 to %d", len(addrs), maxEntries)
	}
	s := &Source{resolver: &lookup.Resolver{Timeout: timeout}}
	var errs []error
	for _, text := range addrs {
		e, err := parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("static peer %q: %w", text, err))
		}
		s.entries = append(s.entries, e)
	}
	if i, j, ok := lookup.SharedHost(addrs); ok {
		errs = append(errs, fmt.Errorf("static peers: %s and %s are one address with two ports, but pods are told apart by their addresses: "+
			"give each pod an address of its own", addrs[i], addrs[j]))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func parse(text string) (entry, error) {
	host, port, err := lookup.SplitHostPort(text)
	if err != nil {
		return entry{}, err
	}
	e := entry{host: host, port: port}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return entry{}, errors.New("not the address of one pod")
		}
		e.addrs, e.fixed = []netip.Addr{ip.Unmap()}, true
	}
	return e, nil
}

// String names the source for people, such as "static (3 addresses)".
func (s *Source) String() string {
	if len(s.entries) == 1 {
		return "static (1 address)"
	}
	return fmt.Sprintf("static (%d addresses)", len(s.entries))
}

// Run reports the list at once and then every 2 s, until ctx is done. It then returns the
// error of ctx. A name that cannot be resolved keeps its last addresses, and is tried again
// before the next report. Membership.Err is set only if no entry has an address. Only one
// Run may be active at a time.
func (s *Source) Run(ctx context.Context, report func(peers.Membership)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		s.resolve(ctx)
		if ctx.Err() == nil {
			report(s.view())
		}
		timer.Reset(renew)
	}
}

// resolve looks up the names that are due.
func (s *Source) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var due []*entry
	var names []string
	for i := range s.entries {
		if e := &s.entries[i]; !e.fixed && !time.Now().Before(e.due) {
			due, names = append(due, e), append(names, e.host)
		}
	}
	for i, res := range lookup.AddrsOfAll(ctx, s.resolver, names) {
		due[i].update(res)
	}
}

// update applies an answer. An empty answer counts as a failure, since someone who knew of a
// pod there wrote the entry.
func (e *entry) update(res lookup.Result) {
	if len(res.Addrs) == 0 {
		e.err = cmp.Or(res.Err, fmt.Errorf("no addresses for name %q", e.host))
		return
	}
	e.addrs, e.err, e.due = res.Addrs, nil, time.Now().Add(resolveEvery)
}

// view returns the members of all entries, each address once.
func (s *Source) view() peers.Membership {
	var m peers.Membership
	var errs []error
	ports := make(map[netip.Addr]int)
	for _, e := range s.entries {
		errs = append(errs, e.err)
		for _, addrs := range lookup.Pods(e.addrs) {
			addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
				port, listed := ports[a]
				if listed && port != e.port {
					m.Warning = twoPorts(a, port, e.port)
				} else {
					ports[a] = e.port
				}
				return listed
			})
			if len(addrs) > 0 {
				m.Members = append(m.Members, peers.Member{Addrs: addrs, Port: e.port, Unproven: true})
			}
		}
	}
	if len(m.Members) == 0 {
		return peers.Membership{Err: errors.Join(errs...)}
	}
	return m
}

// twoPorts describes names that have an address in common, which New cannot see.
func twoPorts(a netip.Addr, used, other int) string {
	return fmt.Sprintf("static peers: %v is listed with the ports %s and %s, and only %[2]s is used: give each pod an address of its own",
		a, portText(used), portText(other))
}

func portText(port int) string {
	if port == 0 {
		return "peers.port"
	}
	return strconv.Itoa(port)
}
