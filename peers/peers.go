package peers

import (
	"context"
	"net"
	"net/netip"
)

// Source finds the pods of the service. Implement it to find them in a way of your own.
type Source interface {
	// Run watches the membership until ctx is done. It calls report with each new view, from
	// one goroutine at a time.
	//
	// While the view holds, Run reports it again every few seconds, unchanged: a view that
	// is not renewed becomes stale after 30 s. While the source cannot see the membership,
	// Run reports a Membership with Err set and tries again. It returns only when ctx is
	// done, or with an error that no retry can fix.
	Run(ctx context.Context, report func(Membership)) error
	// String names the source for people: "dns hello.test", "static (3 addresses)".
	String() string
}

// Dialer is an optional interface of a Source. Its DialPeer then connects to the health
// endpoints of the pods, such as through a proxy. Without it they are dialed over TCP.
type Dialer interface {
	// DialPeer connects to the health endpoint at addr, the address and port of a Member.
	// With peers.tls, TLS is spoken over the connection. The connection is kept and reused.
	//
	// DialPeer is called from several goroutines at a time, possibly after Run has
	// returned. It must return when ctx is done, after 1 s at most. A pod for which it
	// returns an error counts as one that does not answer.
	DialPeer(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// Membership is the membership of the service, as a Source sees it. The zero value is a
// service without pods.
type Membership struct {
	// Members are the pods, each once and in any order. They may include this pod. They
	// are copied before report returns.
	Members []Member
	// Starting is the number of further pods that the source lists but that are not ready
	// yet. Pods that become ready within 15 s of each other are made known to multi-homed
	// clients together. Default 0: there are none, or the source does not know.
	Starting int
	// StartingKnown reports whether Starting is all there is: the source lists every pod that
	// has begun to start. Multi-homed clients then learn of new pods sooner. Default false:
	// more pods may come, so the membership must have been quiet for a while.
	StartingKnown bool
	// ClientName is the DNS name that answers with these very pods, such as that of a
	// headless Service. Clients are assumed to resolve it, unless clients.dns.name is set,
	// and no connection is moved before it answers in full. Default empty: there is no such
	// name (a ClusterIP), or the source does not know.
	ClientName string
	// Warning is a problem that a person should fix although the view is good, such as a
	// missing permission that makes changes late. It is shown as a condition until a view
	// comes without it. Default empty: none.
	Warning string
	// Err, if not nil, is why the source cannot see the membership. Members is then
	// ignored, and the last good view ages. Default nil.
	Err error
}

// Member is one pod of the service.
type Member struct {
	// Pod is the name of the pod. Default empty: the source does not know it.
	Pod string
	// Addrs are the addresses of the pod, at least one. The first one names the pod if Pod
	// is empty.
	Addrs []netip.Addr
	// Port is the port of the pod's health endpoint. Default 0: peers.port.
	Port int
	// Zone is the zone whose clients reach the pod, if clients reach pods of one zone only:
	// in Kubernetes, that of the EndpointSlice's hint. It counts only if each member has one.
	// Default empty: clients of all zones reach the pod.
	Zone string
	// NodeZone is the zone in which the pod runs. It is for people only. Default empty: not
	// known.
	NodeZone string
	// Terminating reports whether the pod is stopping. It is then no longer a member.
	Terminating bool
	// Unproven reports whether the source cannot know that the pod serves, such as a static
	// list. The pod is then a member only while its health endpoint answers.
	Unproven bool
}
