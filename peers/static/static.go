package static

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/lookup"
	"github.com/evenkeel-go/evenkeel/peers"
)

const (
	// renew is how often the view is reported. What is written down holds at any
	// time; the report says no more than that this process is alive.
	renew = 2 * time.Second
	// resolveEvery is how often names are resolved again.
	resolveEvery = 30 * time.Second
	// patience bounds the resolving of all names, and with it the time between two
	// reports.
	patience = 2 * time.Second
	// maxEntries is far above any list that a person keeps.
	maxEntries = 10_000
)

// Source reports a list of addresses.
type Source struct {
	entries  []entry
	resolver lookup.Lookuper
}

var _ peers.Source = (*Source)(nil)

// entry is one line of the list.
type entry struct {
	text  string
	host  string
	port  int
	addrs []netip.Addr // an address, or the last good answer for a name
	err   error        // why there is no good answer yet
	due   time.Time    // when a name is resolved next; zero: now
	fixed bool         // host is an address
}

// New returns a Source of addrs: "host" or "host:port". It fails if there is none
// or more than 10,000, and joins what is wrong with each that cannot be an address.
func New(addrs []string) (*Source, error) {
	if len(addrs) == 0 || len(addrs) > maxEntries {
		return nil, fmt.Errorf("static peers: %d addresses, want from 1 to %d", len(addrs), maxEntries)
	}
	s := &Source{resolver: &lookup.Resolver{Timeout: patience}}
	var errs []error
	for _, text := range addrs {
		e, err := parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("static peer %q: %w", text, err))
		}
		s.entries = append(s.entries, e)
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
	e := entry{text: text, host: host, port: port}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return entry{}, errors.New("not the address of one pod")
		}
		e.addrs, e.fixed = []netip.Addr{ip.Unmap()}, true
	}
	return e, nil
}

// String names the source for people.
func (s *Source) String() string {
	if len(s.entries) == 1 {
		return "static (1 address)"
	}
	return fmt.Sprintf("static (%d addresses)", len(s.entries))
}

// Run reports the list at once and every two seconds from then on. A name that
// cannot be resolved keeps its last addresses, and is tried again with the next
// report; Err is set only if nothing on the list has an address. Run returns with
// ctx, and must not run twice at a time.
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

// resolve brings the names up to date whose time has come.
func (s *Source) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
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

// update takes an answer. No address is as bad as no answer: the entry was
// written down by somebody who knew of a pod there.
func (e *entry) update(res lookup.Result) {
	if len(res.Addrs) == 0 {
		e.err = cmp.Or(res.Err, fmt.Errorf("no addresses for name %q", e.host))
		return
	}
	e.addrs, e.err, e.due = res.Addrs, nil, time.Now().Add(resolveEvery)
}

// view makes the members of the entries, each address and port once.
func (s *Source) view() peers.Membership {
	var m peers.Membership
	var errs []error
	seen := make(map[netip.AddrPort]bool)
	for _, e := range s.entries {
		errs = append(errs, e.err)
		for _, addrs := range lookup.Pods(e.addrs) {
			addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
				ap := netip.AddrPortFrom(a, uint16(e.port))
				was := seen[ap]
				seen[ap] = true
				return was
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
