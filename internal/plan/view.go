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
	// Serving is the number of those connections.
	Serving int
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
	// Streams is the number of streams in flight.
	Streams int
	// FutileDrains is how often in a row its client was drained and came back here.
	FutileDrains int
	// Named is true once a handler has set the key during an RPC. Where handlers set
	// keys, the client of an unnamed connection is not known yet.
	Named bool
}

// Peer is the latest report of another pod.
type Peer struct {
	// Pod is one of View.Members, never Self.
	Pod string
	// Age is how old the report is.
	Age time.Duration
	// Load is the other pod's View.Load.
	Load float64
	// Reaching is true while the pod drains multi-homed clients, is about to, or has
	// not seen yet where they went.
	Reaching bool
	// Overloaded is true if the pod sheds load, or would if it could.
	Overloaded bool
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
