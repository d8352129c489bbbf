package plan

import "time"

// View is everything that a decision depends on.
type View struct {
	Now  time.Duration
	Self string
	// Members are the members of the Service, sorted, Self among them.
	Members []string
	// Uptime is how long each of Members has been serving, if known.
	Uptime map[string]time.Duration
	// Starting is how many more pods are about to become members, if known.
	Starting int
	// StartingKnown reports whether the source knows how many pods are starting. Then the
	// list of pods may be quiet long before Settle is over.
	StartingKnown bool
	// Revisions is how many revisions of their workload (pod-template-hash) the members run.
	// 0: not known of all of them. While there are several, pods are being replaced.
	Revisions int
	// Terminating is how many pods are known to be stopping. They still serve, and their
	// clients resolve again when they are drained.
	Terminating int
	// Stopping are the pods, sorted, that are no members because they stop in good order. One
	// that leaves without being among them has crashed, is not ready, or was not seen.
	Stopping []string
	// Unheard is how many more pods are listed but count as members only once they answer,
	// which they do not.
	Unheard int
	// Restarted are those of Members that have restarted at the same address since the
	// last View. The membership never showed them missing, but some clients may have
	// noticed.
	Restarted []string
	// NoPeers is the reason why there is no pod to balance with (no source); empty if
	// there is one.
	NoPeers string
	// Stale is the reason why Members must not be acted upon; empty if they may be.
	Stale string
	Gate  Gate
	// Load is this pod's load by the configured weight: the sum over its connections
	// that are not draining.
	Load float64
	// InFlight is what the draining connections with open streams still carry, in the same
	// measure. It is load of this pod, and moves that have not landed.
	InFlight Flight
	// Serving is the number of the connections that make Load.
	Serving int
	// Streams is the mean number of streams in flight if Load is a rate of RPCs, else 0.
	// Streams/Load then is how long an RPC takes.
	Streams float64
	// Departed counts the connections that clients have closed by themselves so far, without
	// being drained.
	Departed uint64
	// Share is how much load this pod should carry, in proportion to the other pods' shares:
	// its capacity, times Warm. 0 stands for 1. A pod that should carry nothing has Out set.
	Share float64
	// Warm is how far this pod has warmed up (rebalance.warmup), up to 1. 0 stands for 1.
	Warm float64
	// Out is the reason why this pod should carry no load although it lives, such as that
	// the Service does not list it; empty if it should. Members then are the others, and
	// Self is not among them.
	Out string
	// OutPods is how many pods, this one included, say that they are out.
	OutPods int
	// Zones holds the zone of each member, if clients reach pods of their own zone only
	// (EndpointSlice hints); nil if all clients reach all pods.
	Zones map[string]string
	// Peers are the reports of other pods, sorted by Pod, at most one for each pod. A
	// member without one has not reported for long, or was never polled.
	Peers []Peer
	// Overloaded names the signal by which this pod is overloaded; empty if it is not.
	Overloaded string
	// Returns count where the clients went that evenness drained.
	Returns Returns
	// Conns are the live connections. They are read only when something may have to
	// move, see State.Growing and State.Due.
	Conns []Conn
	// Counts are the answers to the last Step.Query, nil until all of them have arrived.
	Counts *Counts
}

// Conn is one of this pod's connections.
type Conn struct {
	ID       uint64
	Key      string
	Opened   time.Duration
	Returned bool
	Draining bool
	// Weight is its part of View.Load, 0 or more. It is 0 if its client has opened no stream.
	Weight float64
	// Rate is its client's requests per second.
	Rate float64
	// Streams is the number of streams in flight.
	Streams int
	// FutileDrains is how often in a row its client was drained and came back here.
	FutileDrains int
	// Named is true once a handler has set the key during an RPC. Where handlers set
	// keys, the client of an unnamed connection is not known yet.
	Named bool
	// Single is true if each connection of its client goes its own way (HTTP/1.1): the client
	// is single-homed, however many pods it is on.
	Single bool
}

// Peer is the latest report of another pod.
type Peer struct {
	// Pod is one of View.Members, never Self.
	Pod string
	// Age is how old the report is.
	Age time.Duration
	// Load is the other pod's View.Load.
	Load float64
	// Serving is the other pod's View.Serving.
	Serving int
	// Streams is the other pod's View.Streams.
	Streams float64
	// Reaching is true while the pod drains multi-homed clients, is about to, or has
	// not seen yet where they went.
	Reaching bool
	// Overloaded is true if the pod sheds load, or would if it could.
	Overloaded bool
	// InFlight is the load of the other pod's View.InFlight.
	InFlight float64
	// Share is the other pod's View.Share times its State.Relief; 0 stands for 1.
	Share float64
	// Warm is the other pod's View.Warm; 0 stands for 1.
	Warm float64
	// Paused is the other pod's State.Paused.
	Paused bool
	// OtherSalt is true if the pod hashes keys differently, so that its counts mean nothing.
	OtherSalt bool
}

// Flight is what the draining connections with open streams carry.
type Flight struct {
	Load        float64
	Connections int
	Streams     int
	// Oldest is how long ago the first of them was drained.
	Oldest time.Duration
}

// Returns are the registry's sums over the connections that evenness drained.
type Returns struct {
	// Drained is how many were drained. Returned is how many of their clients came back
	// to this pod. Away is how many did not come back within the time allowed for it.
	// The rest is still undecided.
	Drained, Returned, Away uint64
}

// Gate is whether DNS lists every ready member to clients.
type Gate struct {
	// Needed is true if the name that clients resolve is known.
	Needed bool
	// Open is true while DNS lists all members. OpenSince is since when.
	Open      bool
	OpenSince time.Duration
	// Why describes what is missing while the gate is closed.
	Why string
}

// Counts are the connections that other pods hold for each key.
type Counts struct {
	// Query is the Step.Query that these answer.
	Query uint64
	// ByPod holds, for each pod that answered, the number of connections per key.
	ByPod map[string]map[string]int
	// SingleHomed are those of the keys that a pod which answered has in its State.SingleHomed.
	SingleHomed map[string]bool
}
