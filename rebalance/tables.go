package rebalance

import (
	"slices"
	"time"
)

// The codes of the conditions that a Balancer sets itself.
const (
	untracked     = "untracked"
	notRunning    = "not-running"
	healthPort    = "health-port"
	sourceEnded   = "source-ended"
	staleView     = "stale-view"
	dnsBehind     = "dns-behind"
	peersSilent   = "peers-silent"
	peersLimited  = "peers-limited"
	peersTLS      = "peers-tls"
	configInvalid = "config"
	unreached     = "unreached"
	overloadedPod = "overloaded"
	duplicateName = "duplicate-name"
	framesLost    = "frames-lost"
	unbalanceable = "unbalanceable"
	slowDrain     = "slow-drain"
	restartNeeded = "restart-needed"
)

// ConditionInfo describes a condition that a Balancer can show.
type ConditionInfo struct {
	// Code is that of Condition, and the label of evenkeel_conditions.
	Code     string
	Severity Severity
	// After is how long it must have held before it shows. Zero: at once.
	After time.Duration
	// Title names it in a few words, Meaning says what is the case, Cure what to do.
	Title, Meaning, Cure string
	// Causes are the codes of conditions that explain it: while one of them shows, this
	// one does not.
	Causes []string
}

// ConditionTable returns every condition that a Balancer can show, the worst first.
func ConditionTable() []ConditionInfo { return slices.Clone(conditionTable) }

var conditionTable = []ConditionInfo{
	{
		Code: untracked, Severity: Error, Title: "connections are not tracked",
		Meaning: "An RPC came on a connection that is not tracked: a `grpc.Creds` after `serveropts.Options` replaced its credentials, or the server serves through ServeHTTP. The handlers of grpc.health.v1 notice it.",
		Cure:    "Pass the credentials to `serveropts.Options`, and drop `grpc.Creds`. ServeHTTP is not supported yet.",
	},
	{
		Code: notRunning, Severity: Error, Title: "Run was not called",
		Meaning: "Connections are served, and `Balancer.Run` has not been called within 10 s of the first one.",
		Cure:    "Add `go bal.Run(ctx)`.",
	},
	{
		Code: healthPort, Severity: Error, Title: "the health endpoint does not serve",
		Meaning: "The health endpoint cannot listen, or has failed. Peers cannot ask this pod.",
		Cure:    "Free the port that the text names, or choose another.",
	},
	{
		Code: sourceEnded, Severity: Error, Title: "the source of peers has ended",
		Meaning: "The source of peers has given up for good.",
		Cure:    "Mend what the text names, then restart the pod.",
	},
	{
		Code: staleView, Severity: Warning, After: 10 * time.Second, Title: "the view of the peers is stale",
		Meaning: "Too little is known of the other pods, so no connection is drained for balance.",
		Cure:    "The text has the cause: DNS, the API server, the Role, `$POD_IP`, or peers that do not answer.",
		Causes:  []string{sourceEnded},
	},
	{
		Code: dnsBehind, Severity: Warning, After: 30 * time.Second, Title: "DNS lacks pods",
		Meaning: "The name that clients resolve does not list all pods, so new pods get no connections yet.",
		Cure:    "Set `clients.dns.name` to the headless name that clients resolve.",
	},
	{
		Code: peersSilent, Severity: Warning, After: 10 * time.Second, Title: "peers do not answer",
		Meaning: "Peers do not answer on their health port.",
		Cure:    "Check NetworkPolicy, `peers.port` and `peers.tls`; `evenkeel_peer_errors_total` counts by cause.",
	},
	{
		Code: peersLimited, Severity: Warning, Title: "the source of peers is limited",
		Meaning: "The source of peers works, but not as well as it should, such as without the right to watch.",
		Cure:    "Grant the verb, or change the setting, that the text names.",
	},
	{
		Code: peersTLS, Severity: Warning, Title: "changed certificates cannot be used",
		Meaning: "The files of `peers.tls` have changed and cannot be used. The certificates of before stay in force.",
		Cure:    "Mend the files that the text names.",
	},
	{
		Code: configInvalid, Severity: Warning, Title: "the changed configuration is wrong",
		Meaning: "The configuration file has changed and is wrong. The configuration of before stays in force.",
		Cure:    "Mend the keys that the text names; a restart would fail.",
	},
	{
		Code: unreached, Severity: Warning, Title: "clients have not reached the new pods",
		Meaning: "After three rounds, some multi-homed clients have not connected to the new pods.",
		Cure:    "Look for resolvers that cache for long, and for clients without round_robin.",
		Causes:  []string{dnsBehind},
	},
	{
		Code: overloadedPod, Severity: Warning, Title: "this pod is overloaded",
		Meaning: "The verdict is `overloaded`.",
		Cure:    "Add pods, or raise `rebalance.maxStreams`.",
	},
	{
		Code: duplicateName, Severity: Warning, Title: "two pods have one name",
		Meaning: "Two pods report the same name.",
		Cure:    "Give each pod its own `$POD_NAME`, or use `rebalance.WithSelf`.",
	},
	{
		Code: framesLost, Severity: Warning, Title: "HTTP/2 frames were lost",
		Meaning: "On some connections the HTTP/2 frames could not be followed. They are served and never drained.",
		Cure:    "Find out which client that is, and report it.",
	},
	{
		Code: unbalanceable, Severity: Info, After: 30 * time.Second, Title: "the load cannot be evened out",
		Meaning: "The verdict is `unbalanceable`.",
		Cure:    "The text says what would help.",
	},
	{
		Code: slowDrain, Severity: Info, Title: "drained connections stay open",
		Meaning: "Connections that were drained more than 5 min ago still have streams open.",
		Cure:    "End long streams when `rebalance.Draining` closes, or set `rebalance.grace`.",
	},
	{
		Code: restartNeeded, Severity: Info, Title: "a restart is needed",
		Meaning: "Keys have changed that only a new process takes up.",
		Cure:    "Restart the pods one after the other.",
	},
}

// infoOf is the table by code. A condition of the user's own is not in it.
var infoOf = func() map[string]ConditionInfo {
	m := make(map[string]ConditionInfo, len(conditionTable))
	for _, info := range conditionTable {
		m[info.Code] = info
	}
	return m
}()

// VerdictInfo describes a verdict.
type VerdictInfo struct {
	Verdict Verdict
	// Meaning says what is the case.
	Meaning string
	// Good: nothing is wrong with the balance or the way to it.
	Good bool
}

// VerdictTable returns every verdict with its meaning.
func VerdictTable() []VerdictInfo { return slices.Clone(verdictTable) }

var verdictTable = []VerdictInfo{
	{Balanced, "No connection needs to move.", true},
	{Moving, "Connections are being moved, or the pod is checking where they went.", true},
	{Waiting, "It is too early to move connections: the membership is not quiet yet, or DNS does not list all pods.", true},
	{Unbalanceable, "No move can even out the load; the sentence beside it says what would help.", false},
	{Stale, "Too little is known of the other pods, so nothing moves.", false},
	{Disabled, "`rebalance.enabled` is false, there is no source of peers, or the pod is stopping.", true},
	{Overloaded, "This pod sheds load, or would if the other pods were not overloaded, too.", false},
}

// Verdicts returns every Verdict.
func Verdicts() []Verdict {
	out := make([]Verdict, len(verdictTable))
	for i, v := range verdictTable {
		out[i] = v.Verdict
	}
	return out
}
