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
	// DefaultTimeout bounds one lookup with all its queries and retries.
	DefaultTimeout = 5 * time.Second
	// maxAddrs bounds one answer. A DNS message holds some 4,000 addresses of one family,
	// so only a broken hosts file can exceed it.
	maxAddrs = 10_000
	// exchangesPerLookup is the part of the timeout that one query may take: a third. That
	// leaves time to repeat a lost packet or to try the next server. Go's own limit of 5 s
	// a query would use up all of it.
	exchangesPerLookup = 3
)

// Resolver queries one DNS server, or those of the system. It is safe for concurrent use.
// The zero value queries the system's servers.
type Resolver struct {
	// Timeout bounds one lookup. Zero or less: [DefaultTimeout]. Set it before
	// the first lookup.
	Timeout time.Duration

	server string // host:port, or empty: those of the system
	strict bool
}

// New returns a Resolver for server: "host", "host:port", or an IPv6 address with or
// without brackets. The default port is 53. Empty: the servers of the system's
// resolv.conf.
//
// The hosts file, the search list and ndots are always those of the system, as they are
// for a gRPC client with dns://server/name. A name that ends with a dot bypasses the
// search list and costs the fewest queries.
//
// New fails if server cannot be the address of a server.
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

// Strict returns a Resolver that fails if any part of a lookup failed. Without it, a
// Resolver accepts the A records when only the AAAA query failed, as gRPC clients do. That
// is right for finding out what clients see, and wrong for finding the pods.
func (r *Resolver) Strict() *Resolver {
	strict := *r
	strict.strict = true
	return &strict
}

// String names the server, for messages.
func (r *Resolver) String() string { return cmp.Or(r.server, "system resolver") }

// Addrs returns the A and AAAA addresses of name, sorted, unmapped and without duplicates.
// An IP address is its own answer. A name that does not exist or has no address is an
// empty answer, not an error. All errors are of type [*Error].
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
	if err == nil && len(addrs) > maxAddrs {
		err = fmt.Errorf("the answer has %d addresses, more than %d", len(addrs), maxAddrs)
	}
	if err != nil {
		return nil, r.failure(name, err)
	}
	return tidy(addrs), nil
}

// Target is one SRV record with the addresses of its host.
type Target struct {
	Host  string // without a trailing dot
	Port  uint16 // of the service that the record describes
	Addrs []netip.Addr
}

// SRV returns the targets of name (RFC 2782: "_grpc._tcp.hello.test"), sorted by host and
// port, with their addresses. It drops priority and weight, which are for clients that
// choose a target. A host without addresses has just gone; its Addrs is empty. A name
// without records is an empty answer. If the lookup of one host fails, SRV fails: half an
// answer would mislead.
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
		// By RFC 2782, the target "." means that there is no such service.
		if host := strings.TrimSuffix(rec.Target, "."); host != "" {
			targets = append(targets, Target{Host: host, Port: rec.Port})
		}
	}
	slices.SortFunc(targets, func(a, b Target) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	hosts := make([]string, len(targets))
	for i, t := range targets {
		hosts[i] = t.Host + "." // a server sends complete names: no search list
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

// resolver returns a new one for each lookup, which costs next to nothing. Go's resolver
// keeps a canceled lookup until its query times out, and the next lookup of that name
// would join it.
func (r *Resolver) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: r.strict, Dial: r.dial}
}

// failure makes an [*Error] of err. It returns nil if the answer is that no such name or
// record exists.
func (r *Resolver) failure(name string, err error) error {
	server := r.String()
	var dns *net.DNSError
	if errors.As(err, &dns) {
		if dns.IsNotFound {
			return nil
		}
		// Go names the server of resolv.conf even if dial used another one.
		if r.server == "" {
			server = cmp.Or(dns.Server, server)
		}
	}
	return &Error{Server: server, Name: name, Err: err}
}

// tidy unmaps and sorts addrs in place, and drops duplicates.
func tidy(addrs []netip.Addr) []netip.Addr {
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// Error is a lookup that got no answer. It says nothing about the name: keep the last
// answer and try again.
type Error struct {
	Server string // the server queried, or "system resolver"
	Name   string // the name looked up
	Err    error  // mostly a [*net.DNSError]
}

func (e *Error) Error() string {
	return fmt.Sprintf("DNS %s: lookup %q: %s", e.Server, e.Name, e.reason())
}

// reason leaves out what Error has already, and the socket ("read udp
// 127.0.0.1:40001->127.0.0.1:53: "). The same failure then has the same text each time,
// for callers that log on change only.
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

// Timeout reports whether the lookup failed because no answer came in time.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}
