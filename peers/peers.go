package peers

import (
	"context"
	"net"
	"net/netip"
)

// Source tells who else serves: the pods of this service.
type Source interface {
	// Run watches until ctx is done and calls report with each new view, from
	// one goroutine at a time. It reports again, unchanged, at least as often as
	// it can be sure that the view still holds: a view that is not renewed
	// becomes stale. An error that leaves the source blind is reported as a
	// Membership with Err set; Run itself returns only with ctx, or for an error that
	// no retry can mend.
	Run(ctx context.Context, report func(Membership)) error
	// String names the source for people: "dns hello.test", "static (3 addresses)".
	String() string
}

// Dialer may be implemented by a Source as well. It then reaches the pods' health
// endpoints its own way, such as through a proxy. Without it they are dialled over TCP.
type Dialer interface {
	// DialPeer connects to the health endpoint at addr, a Member's address and port, for
	// every question to that pod. The connection is kept and used again. With peers.tls, TLS
	// is spoken over it. DialPeer is called from several goroutines at a time and must
	// return with ctx, which ends after 1 s at most; so it may still be under way when Run
	// has returned. An error counts as a pod that does not answer.
	DialPeer(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// Membership is who serves, as a Source sees it.
type Membership struct {
	// Members are the pods, each once, in any order, this one possibly among them. They
	// are copied before report returns.
	Members []Member
	// Starting is how many pods more are about to serve: the source lists them, and they
	// are not ready yet. Clients are told of pods added once for all that become ready
	// within 15 s of each other. Zero: none, or the source does not know.
	Starting int
	// ClientName is the DNS name that answers with these very pods, if the source knows
	// one: a headless Service's. Clients are taken to resolve it, and none is moved before
	// it answers in full, unless clients.dns.name says otherwise. Empty: there is no such
	// name (a ClusterIP), or the source does not know.
	ClientName string
	// Warning is what a person should mend though the view is good, such as a permission
	// without which changes are seen late. It shows as a condition until a view comes
	// without it. Empty: nothing.
	Warning string
	// Err, if not nil, says why the source sees nothing now. Members is ignored
	// then and the last good view ages.
	Err error
}

// Member is one pod of the service.
type Member struct {
	// Pod is its name, if the source knows it.
	Pod string
	// Addrs are its addresses; at least one. The first names the pod where Pod is empty.
	Addrs []netip.Addr
	// Port is the port of its health endpoint; 0: peers.port.
	Port int
	// Terminating: it is on its way out and no longer counts as a member.
	Terminating bool
	// Unproven: the source cannot know whether it serves (a static list): it
	// counts as a member only while its health endpoint answers.
	Unproven bool
}
