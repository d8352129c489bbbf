package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultTimeout bounds one lookup with all its questions and retries.
	DefaultTimeout = 5 * time.Second
	// MaxAddrs bounds one answer. A DNS message holds some 4,000 addresses of one
	// family, so that only a hosts file gone wrong is ever above it.
	MaxAddrs = 10_000
	// exchangesPerLookup: a question is given up after this share of the timeout,
	// which leaves time to repeat a lost packet or to ask the next server. Go's own
	// 5 s for each question would use up all of it.
	exchangesPerLookup = 3
)

// Resolver asks one DNS server, or the system's. It is safe for concurrent use.
// The zero value asks the system's servers.
type Resolver struct {
	// Timeout bounds one lookup. Zero or less: [DefaultTimeout]. Set it before
	// the first lookup.
	Timeout time.Duration

	server string // host:port, or empty: those of the system
	strict bool
}

// New returns a Resolver for server: "host", "host:port", an IPv6 address with or
// without brackets; port 53 if there is none. Empty: the servers of the system's
// resolv.conf. The hosts file, the search list and ndots are those of the system
// in any case, as they are for a gRPC client with dns://server/name; a name with
// a dot at its end is searched for as it stands, and costs the fewest questions.
//
// It fails if server cannot be the address of a server.
func New(server string) (*Resolver, error) {
	if server == "" {
		return &Resolver{}, nil
	}
	host, port, err := SplitHostPort(server)
	if err != nil {
		return nil, fmt.Errorf("DNS server %q: %w", server, err)
	}
	return &Resolver{server: net.JoinHostPort(host, strconv.Itoa(cmp.Or(port, 53)))}, nil
}

// Strict returns a Resolver that fails if any part of a lookup failed. Others, as
// gRPC clients do, are content with the A records if only the question for AAAA
// was not answered: right for asking what clients see, wrong for asking who
// is there.
func (r *Resolver) Strict() *Resolver {
	strict := *r
	strict.strict = true
	return &strict
}

// String names the server for people.
func (r *Resolver) String() string { return cmp.Or(r.server, "system resolver") }

// Addrs returns the A and AAAA addresses of name, sorted, unmapped, without
// duplicates. An IP address is its own answer. A name that does not exist, or has
// no address, is no error but an empty answer. All errors are of type [*Error].
func (r *Resolver) Addrs(ctx context.Context, name string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	if err := checkName(name); err != nil {
		return nil, &Error{Server: r.String(), Name: name, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout())
	defer cancel()
	addrs, err := r.resolver().LookupNetIP(ctx, "ip", name)
	if err == nil && len(addrs) > MaxAddrs {
		err = fmt.Errorf("%d addresses, more than %d", len(addrs), MaxAddrs)
	}
	if err != nil {
		return nil, r.failure(name, err)
	}
	return tidy(addrs), nil
}

// Target is one SRV record with the addresses of its host.
type Target struct {
	Host  string // without a dot at its end
	Port  uint16 // of the service that the record is about
	Addrs []netip.Addr
}

// SRV returns the targets of name (RFC 2782: "_grpc._tcp.hello.test"), sorted by
// host and port, with their addresses. Priority and weight are for clients that
// choose, and left out. A host without addresses has just gone and keeps an empty
// Addrs. A name without records is an empty answer; if one host's addresses
// cannot be had, the whole answer fails, as half of it would mislead.
func (r *Resolver) SRV(ctx context.Context, name string) ([]Target, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout())
	defer cancel()
	if err := checkName(name); err != nil {
		return nil, &Error{Server: r.String(), Name: name, Err: err}
	}
	_, records, err := r.resolver().LookupSRV(ctx, "", "", name)
	if err != nil {
		return nil, r.failure(name, err)
	}
	return r.targets(ctx, records)
}

func (r *Resolver) targets(ctx context.Context, records []*net.SRV) ([]Target, error) {
	var targets []Target
	for _, rec := range records {
		// RFC 2782: the target "." says that there is no such service.
		if host := strings.TrimSuffix(rec.Target, "."); host != "" {
			targets = append(targets, Target{Host: host, Port: rec.Port})
		}
	}
	slices.SortFunc(targets, func(a, b Target) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	hosts := make([]string, len(targets))
	for i, t := range targets {
		hosts[i] = t.Host + "." // what a server sent is complete: no search list
	}
	for i, res := range AddrsOfAll(ctx, r, hosts) {
		if res.Err != nil {
			return nil, res.Err
		}
		targets[i].Addrs = res.Addrs
	}
	return targets, nil
}

func (r *Resolver) timeout() time.Duration {
	if r.Timeout > 0 {
		return r.Timeout
	}
	return DefaultTimeout
}

// resolver is made anew for each lookup: it costs next to nothing, and a lookup
// that was given up (and lives on in Go's resolver until its question times out)
// is not joined by the next one.
func (r *Resolver) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: r.strict, Dial: r.dial}
}

// failure returns nil for an answer that says that there is nothing.
func (r *Resolver) failure(name string, err error) error {
	server := r.String()
	var dns *net.DNSError
	if errors.As(err, &dns) {
		if dns.IsNotFound {
			return nil
		}
		// Go names the server of resolv.conf even where another was dialled.
		if r.server == "" {
			server = cmp.Or(dns.Server, server)
		}
	}
	return &Error{Server: server, Name: name, Err: err}
}

// tidy sorts addrs and drops what is there twice.
func tidy(addrs []netip.Addr) []netip.Addr {
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// Error is a lookup that has got no answer. It tells nothing about the name: do
// as before, and ask again.
type Error struct {
	Server string // the server asked, or "system resolver"
	Name   string // the name asked for
	Err    error  // mostly a [*net.DNSError]
}

func (e *Error) Error() string {
	return fmt.Sprintf("DNS %s: lookup %q: %s", e.Server, e.Name, e.reason())
}

// reason leaves out what Error says already, and the socket ("read udp
// 127.0.0.1:40001->127.0.0.1:53: "): the same failure has the same text each time,
// for those who log on change only.
func (e *Error) reason() string {
	var dns *net.DNSError
	if !errors.As(e.Err, &dns) {
		return e.Err.Error()
	}
	if _, socket, ok := strings.Cut(dns.Err, "->"); ok {
		if _, reason, ok := strings.Cut(socket, ": "); ok {
			return reason
		}
	}
	return dns.Err
}

func (e *Error) Unwrap() error { return e.Err }

// Timeout tells whether no answer came in time.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}
