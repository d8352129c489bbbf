package rebalance

import "time"

// Verdict is one word for the state of the balance.
type Verdict string

// The verdicts, as /statusz and evenkeel_verdict show them. [VerdictTable] has their meanings.
const (
	Balanced      Verdict = "balanced"
	Moving        Verdict = "moving"
	Checking      Verdict = "checking"
	Waiting       Verdict = "waiting"
	Unbalanceable Verdict = "unbalanceable"
	Stale         Verdict = "stale"
	Disabled      Verdict = "disabled"
	Overloaded    Verdict = "overloaded"
	OutOfService  Verdict = "draining"
)

// Severity is how bad a Condition is.
type Severity string

// Severities, the mildest first.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Condition is something that a person should know for as long as it holds.
type Condition struct {
	// Code is stable and for machines, such as "untracked" or "dns-behind"; see
	// [ConditionTable].
	Code string `json:"code"`
	// Severity is how bad it is.
	Severity Severity `json:"severity"`
	// Text says what is wrong and what to do.
	Text string `json:"text"`
	// Since is when it began.
	Since time.Time `json:"since"`
}

// Decision is an entry in the list of what a Balancer has done.
type Decision struct {
	// At is when.
	At time.Time `json:"at"`
	// Action names it, such as "grown", "move" or "shutdown".
	Action string `json:"action"`
	// Count is how many connections or pods it concerns, 0 if that does not apply.
	Count int `json:"count"`
	// Why is a sentence for people.
	Why string `json:"why"`
}

// PeerStatus is what is known of one pod.
type PeerStatus struct {
	// Pod is its name, Address its IP address with the port of its health endpoint.
	Pod     string `json:"pod"`
	Address string `json:"address"`
	// Zone is the zone in which it runs, if that is known.
	Zone string `json:"zone,omitempty"`
	// Ready is true if its report says that it serves and it answered the latest poll.
	Ready bool `json:"ready"`
	// Connections is how many it had by its last report.
	Connections int `json:"connections"`
	// Load is its load by Status.Weight. It is nil if its report is older than a minute or
	// lacks that weight.
	Load *float64 `json:"load,omitempty"`
	// Share is its share by its report, see Status.Share, and 0 if it has not reported. Warm is
	// its Status.Warm.
	Share float64 `json:"share,omitempty"`
	Warm  float64 `json:"warm,omitempty"`
	// Age is the age of its report in seconds, or 0 if that is at most 5 s.
	Age float64 `json:"age,omitempty"`
	// Verdict is its own, and Why the sentence beside it, of 240 characters at most. Another pod
	// sends no sentence while it is balanced. They are empty if its report has none.
	Verdict Verdict `json:"verdict,omitempty"`
	Why     string  `json:"why,omitempty"`
	// Self is true for this pod.
	Self bool `json:"self,omitempty"`
	// Error is why the latest poll failed.
	Error string `json:"error,omitempty"`
}

// Band is the range of loads in which this pod is left alone.
type Band struct {
	// Over is the upper bound. A pod above it is over-loaded and gives away the excess.
	Over float64 `json:"over"`
	// Under is the lower bound. A pod below it is under-loaded, and fuller pods give to it.
	Under float64 `json:"under"`
}

// Validity is when a certificate is valid.
type Validity struct {
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// Status is everything about a Balancer at one moment, the body of /statusz.
type Status struct {
	// Pod is this pod's name, Uptime how long the Balancer has existed, such as "3h12m4s".
	Pod    string `json:"pod"`
	Uptime string `json:"uptime"`
	// Zone is the zone in which this pod runs: $POD_ZONE, or else what the source knows.
	Zone string `json:"zone,omitempty"`
	// Connections is how many are open, Draining how many of them have been drained,
	// Streams how many RPCs are in flight.
	Connections int `json:"connections"`
	Draining    int `json:"draining"`
	Streams     int `json:"streams"`
	// Weight is the measure of load in force: connections, requests (per second), streams
	// (in flight), or custom, that of [WithWeight]. Load is this pod's by it, over
	// connections that are not draining, as of the last second.
	Weight string  `json:"weight"`
	Load   float64 `json:"load"`
	// MeanLoad is the mean of this pod and of the others that reported within 10 s, with what
	// drained connections still carry; 0 if too few pods did, and before a source has listed
	// this pod. Where shares differ, it is the load that
	// this pod would have if all pods had the same load per share. Band follows from it and from
	// rebalance.tolerance and rebalance.floor; it is zero where MeanLoad is.
	MeanLoad float64 `json:"meanLoad"`
	Band     Band    `json:"band,omitzero"`
	// Share is how much load this pod should carry, in proportion to the other pods: its
	// capacity (see [WithShare]), times Warm, and less while it is overloaded. It is 1 if
	// all pods are alike. Warm is how far the pod has warmed up (rebalance.warmup), from 0.1
	// to 1.
	Share float64 `json:"share"`
	Warm  float64 `json:"warm"`
	// Cores is its CPU limit in cores, from its cgroup; 0 if there is none, or with WithShare.
	// It is part of Share only where pods differ.
	Cores float64 `json:"cores,omitempty"`
	// Opened is how many connections were ever tracked, Keys how many clients have one.
	Opened uint64 `json:"opened"`
	Keys   int    `json:"keys"`
	// Generation counts the growths of the membership.
	Generation uint64 `json:"generation"`
	// Source names the source of peers, "none" if there is none.
	Source string `json:"source"`
	// Peers are the members that the source lists, this pod among them.
	Peers []PeerStatus `json:"peers"`
	// GoAways counts drained connections by reason, Closed counts ended ones by how they
	// ended, and PeerErrors counts failed polls and queries by class. The keys are the
	// labels of the corresponding metrics.
	GoAways    map[string]uint64 `json:"goaways"`
	Closed     map[string]uint64 `json:"closed"`
	PeerErrors map[string]uint64 `json:"peerErrors"`
	// Verdict is the state of the balance, Why a sentence on it.
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why"`
	// Conditions are those that are shown now, the worst first. Decisions are the last 64,
	// the latest first.
	Conditions []Condition `json:"conditions"`
	Decisions  []Decision  `json:"decisions"`
	// Tracked is the same as Opened. Untracked is how many RPCs were seen on
	// connections that this Balancer does not track.
	Tracked   uint64 `json:"tracked"`
	Untracked uint64 `json:"untracked"`
	// Plans is how often planning has run, PlanSeconds how long it has taken in total.
	Plans       uint64  `json:"plans"`
	PlanSeconds float64 `json:"planSeconds"`
	// Ready is false while the pod is stopping.
	Ready bool `json:"ready"`
	// ConfigRejected is true while the configuration file cannot be used, and the last good
	// configuration is in force instead.
	ConfigRejected bool `json:"configRejected,omitempty"`
	// ViewAge is how many seconds ago the source of peers last reported a good view. It is nil
	// before the first.
	ViewAge *float64 `json:"viewAge,omitempty"`
	// Certificate is when that of peers.tls is valid, nil without peers.tls.
	Certificate *Validity `json:"certificate,omitempty"`
	// Enabled is false while the kill switch is thrown (rebalance.enabled), by the
	// configuration or by a file of [config.Switches].
	Enabled bool `json:"enabled"`
	// DryRun is true while decisions are only shown (rebalance.dryRun). Planned counts the
	// connections that would have been drained since the start, by reason.
	DryRun  bool              `json:"dryRun"`
	Planned map[string]uint64 `json:"planned"`
}
