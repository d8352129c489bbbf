package rebalance

import "time"

// Verdict is one word on the state of the balance.
type Verdict string

// The verdicts, as /statusz and evenkeel_verdict show them.
const (
	// Balanced: nothing needs to move.
	Balanced Verdict = "balanced"
	// Moving: connections are being moved, or it is being checked that the move
	// reached the new pods.
	Moving Verdict = "moving"
	// Waiting: something should move but it would be too early: membership is not
	// quiet yet, or DNS does not answer with the new pods.
	Waiting Verdict = "waiting"
	// Unbalanceable: no move can even the load; why says what would help.
	Unbalanceable Verdict = "unbalanceable"
	// Stale: the view of the peers is too old to act upon.
	Stale Verdict = "stale"
	// Disabled: rebalance.enabled is false, there is no source of peers, or this pod is
	// stopping.
	Disabled Verdict = "disabled"
	// Overloaded: this pod sheds connections above its fair share.
	Overloaded Verdict = "overloaded"
)

// Verdicts lists every Verdict.
func Verdicts() []Verdict {
	return []Verdict{Balanced, Moving, Waiting, Unbalanceable, Stale, Disabled, Overloaded}
}

// Severity of a Condition.
type Severity string

// Severities, the mildest first.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Condition is something a person should know, for as long as it holds.
type Condition struct {
	// Code is stable and for machines, such as "untracked" or "dns-behind".
	Code string `json:"code"`
	// Severity is how bad it is.
	Severity Severity `json:"severity"`
	// Text says what is wrong and what to do.
	Text string `json:"text"`
	// Since is when it began.
	Since time.Time `json:"since"`
}

// DecisionRecord is one thing that was decided, or not done and why.
type DecisionRecord struct {
	At     time.Time `json:"at"`
	Action string    `json:"action"`
	Count  int       `json:"count"`
	Why    string    `json:"why"`
}

// PeerStatus is what is known of one pod.
type PeerStatus struct {
	Pod         string `json:"pod"`
	Address     string `json:"address"`
	Ready       bool   `json:"ready"`
	Connections int    `json:"connections"`
	// Load is what it carries by Status.Weight; nil if it has not told for a minute, or
	// does not know that weight.
	Load *float64 `json:"load,omitempty"`
	// Age is how old its report is, in seconds, where that is more than 5 s; else 0.
	Age float64 `json:"age,omitempty"`
	// Self: it is this pod.
	Self bool `json:"self,omitempty"`
	// Error is why its report is missing.
	Error string `json:"error,omitempty"`
}

// Band is between which loads a pod is left alone.
type Band struct {
	// Over: a pod with a load above it is over-loaded, and gives away what is above.
	Over float64 `json:"over"`
	// Under: a pod with a load below it is under-loaded, and those above the mean give
	// to it.
	Under float64 `json:"under"`
}

// Status is one look at a Balancer, the body of /statusz.
type Status struct {
	Pod         string `json:"pod"`
	Uptime      string `json:"uptime"`
	Connections int    `json:"connections"`
	Draining    int    `json:"draining"`
	Streams     int    `json:"streams"`
	// Weight is the measure of load in force: connections, requests (per second),
	// streams (in flight), or custom, that of WithWeight. Load is this pod's by it, over
	// the connections that are not leaving, as of the last second.
	Weight string  `json:"weight"`
	Load   float64 `json:"load"`
	// MeanLoad is the mean over this pod and the others that told within 10 s; 0 if too
	// few did, and before a source has told of this pod. Band follows from it and from
	// rebalance.tolerance and rebalance.floor; it is zero where MeanLoad is.
	MeanLoad   float64           `json:"meanLoad"`
	Band       Band              `json:"band,omitzero"`
	Opened     uint64            `json:"opened"`
	Keys       int               `json:"keys"`
	Generation uint64            `json:"generation"`
	Source     string            `json:"source"`
	Peers      []PeerStatus      `json:"peers"`
	GoAways    map[string]uint64 `json:"goaways"`
	Closed     map[string]uint64 `json:"closed"`
	PeerErrors map[string]uint64 `json:"peerErrors"`
	Verdict    Verdict           `json:"verdict"`
	Why        string            `json:"why"`
	Conditions []Condition       `json:"conditions"`
	Decisions  []DecisionRecord  `json:"decisions"`
	// Tracked is how many connections were ever tracked; Untracked how many RPCs
	// were seen whose connection was not.
	Tracked   uint64 `json:"tracked"`
	Untracked uint64 `json:"untracked"`
	// Plans counts planning runs, PlanSeconds is the time they took together.
	Plans       uint64  `json:"plans"`
	PlanSeconds float64 `json:"planSeconds"`
	// Ready is false while the pod is stopping.
	Ready bool `json:"ready"`
}
