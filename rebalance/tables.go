package rebalance

import (
	"slices"
	"time"
)

// The codes of the conditions that a Balancer sets itself.
const (
	untracked     = "untracked"
	serveHTTP     = "serve-http"
	otherBalancer = "other-balancer"
	notRunning    = "not-running"
	runEnded      = "run-ended"
	healthPort    = "health-port"
	sourceEnded   = "source-ended"
	staleView     = "stale-view"
	dnsBehind     = "dns-behind"
	peersSilent   = "peers-silent"
	peersPort     = "peers-port"
	twoBalancers  = "two-balancers"
	noConnections = "no-connections"
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
	shareInvalid  = "share-invalid"
	outOfService  = "out-of-service"
	otherSalt     = "other-salt"
	zoneShort     = "zone-short"
	oneAddress    = "one-address"
	switchedOff   = "switched-off"
	dryRunning    = "dry-run"
	unknownKeys   = "unknown-keys"
)

// ConditionInfo describes a condition that a Balancer can show.
type ConditionInfo struct {
	// Code identifies it, in Condition.Code and in the label of evenkeel_conditions.
	Code     string
	Severity Severity
	// After is how long it must have held before it is shown. Zero shows it at once.
	After time.Duration
	// Title names the problem in a few words, Meaning describes it, and Cure names what
	// to do.
	Title, Meaning, Cure string
	// Causes are the codes of conditions that explain this one. It is hidden while one of
	// them is shown.
	Causes []string
}

// ConditionTable returns every condition that a Balancer can show, the worst first.
func ConditionTable() []ConditionInfo { return slices.Clone(conditionTable) }

var conditionTable = []ConditionInfo{
	{
		Code: untracked, Severity: Error, Title: "connections are not tracked",
		Meaning: "An RPC arrived in the last 3 min on a connection that evenkeel does not track. Either a `grpc.Creds` after `serveropts.Options` replaced its credentials, or `serveropts.Options` is missing. Calls to grpc.health.v1 reveal it.",
		Cure:    "Pass the credentials to `serveropts.Options`, and that to `grpc.NewServer`. Remove `grpc.Creds`.",
	},
	{
		Code: otherBalancer, Severity: Error, Title: "two Balancers are mixed up",
		Meaning: "An RPC arrived in the last 3 min on a connection that another Balancer of this process tracks. Calls to grpc.health.v1 reveal it. That service follows the shutdown of the wrong Balancer.",
		Cure:    "Pass the same Balancer to `serveropts.Options` and to `health.Register`.",
	},
	{
		Code: notRunning, Severity: Error, Title: "Balancer.Run was not called",
		Meaning: "`Balancer.Run` was not called within 10 s of the first connection, so no connection is moved.",
		Cure:    "Add `go bal.Run(ctx)`.",
	},
	{
		Code: runEnded, Severity: Error, After: runGrace, Title: "Balancer.Run has ended",
		Meaning: "`Balancer.Run` has returned, Shutdown has not begun, and connections are served. None of them is moved any more.",
		Cure:    "Cancel Run's context only after `Shutdown` has returned, or call `Run` again.",
	},
	{
		Code: healthPort, Severity: Error, Title: "the health endpoint does not serve",
		Meaning: "The health endpoint cannot listen, or has failed. Peers cannot poll this pod.",
		Cure:    "Free the port named in the text, or use another one.",
	},
	{
		Code: sourceEnded, Severity: Error, Title: "the source of peers has ended",
		Meaning: "The source of peers has stopped and will not retry.",
		Cure:    "Fix the cause named in the text, then restart the pod.",
	},
	{
		Code: staleView, Severity: Warning, After: 10 * time.Second, Title: "the view of the other pods is stale",
		Meaning: "Too little is known of the other pods, so no connection is drained for balance.",
		Cure:    "Fix the cause named in the text: DNS, the API server, the Role, `$POD_IP`, or peers that do not answer.",
		Causes:  []string{sourceEnded},
	},
	{
		Code: dnsBehind, Severity: Warning, After: 30 * time.Second, Title: "DNS does not list all pods",
		Meaning: "The name that clients resolve does not list all pods, so new pods get no connections yet.",
		Cure:    "Set `clients.dns.name` to the headless name that clients resolve.",
	},
	{
		Code: peersSilent, Severity: Warning, After: 10 * time.Second, Title: "peers do not answer",
		Meaning: "Peers do not answer on their health port.",
		Cure:    "Check the NetworkPolicy, `peers.port` and `peers.tls`. `evenkeel_peer_errors_total` counts the failures by cause.",
	},
	{
		Code: peersPort, Severity: Warning, After: 10 * time.Second, Title: "the peers' health port is not known",
		Meaning: "Peers are polled on the port of this pod's own health endpoint, and this pod does not know that port. `health.Handler` on a server of your own does not know it, and without a health endpoint there is none.",
		Cure:    "Serve with `health.ListenAndServe`, pass `health.WithPort` to `health.Handler`, or set `peers.port`.",
		Causes:  []string{healthPort},
	},
	{
		Code: peersLimited, Severity: Warning, Title: "the source of peers is degraded",
		Meaning: "The source of peers works, but not as well as it could, for example because the Role lacks the verb `watch`.",
		Cure:    "Grant the verb or change the setting named in the text.",
	},
	{
		Code: peersTLS, Severity: Warning, Title: "changed certificates cannot be used",
		Meaning: "The files of `peers.tls` have changed and cannot be used. The previous certificates stay in force.",
		Cure:    "Fix the files named in the text.",
	},
	{
		Code: configInvalid, Severity: Warning, Title: "the changed configuration is invalid",
		Meaning: "The configuration file has changed and is invalid. The previous configuration stays in force.",
		Cure:    "Fix the keys named in the text before the pod restarts: with this file it would not start.",
	},
	{
		Code: unknownKeys, Severity: Warning, Title: "the configuration has unknown keys",
		Meaning: "The file, the environment or `-set` has keys that this version does not know. They are ignored, and the others are in force.",
		Cure:    "Correct the spelling of the keys named in the text. Keys of another version need nothing: they are ignored until all pods run it.",
	},
	{
		Code: unreached, Severity: Warning, Title: "clients have not reached the new pods",
		Meaning: "After three rounds, some multi-homed clients have not connected to the new pods.",
		Cure:    "Look for resolvers that cache DNS answers for a long time, and for clients without round_robin.",
		Causes:  []string{dnsBehind},
	},
	{
		Code: serveHTTP, Severity: Warning, Title: "RPCs come through an untracked web server",
		Meaning: "An RPC arrived in the last 3 min through ServeHTTP, on a connection of an `http.Server` that is not tracked. It is served but neither counted nor drained. Calls to grpc.health.v1 reveal it.",
		Cure:    "Pass your `http.Server` to `serveropts.HTTPServer`, and serve with the methods of the result.",
	},
	{
		Code: overloadedPod, Severity: Warning, Title: "this pod is overloaded",
		Meaning: "The verdict is `overloaded`: more streams are in flight than `rebalance.maxStreams`, or the signal of `rebalance.WithOverload` is on.",
		Cure:    "Add pods, or raise `rebalance.maxStreams`.",
	},
	{
		Code: shareInvalid, Severity: Warning, Title: "this pod's share is invalid",
		Meaning: "The function of `rebalance.WithShare` has returned a number that is no share, such as NaN, or one in another unit. It counts as 1.",
		Cure:    "Return a number from 0.01 to 100, where 1 is a usual pod.",
	},
	{
		Code: twoBalancers, Severity: Warning, After: 10 * time.Second, Title: "one pod has two Balancers",
		Meaning: "Two Balancers of this process run for the same pod. Each balances a part of its connections, and peers hear of one of them.",
		Cure:    "Make one Balancer and pass it to all servers.",
	},
	{
		Code: duplicateName, Severity: Warning, Title: "two pods have the same name",
		Meaning: "Two pods report the same name.",
		Cure:    "Give each pod its own name, with `$POD_NAME` or `rebalance.WithSelf`.",
	},
	{
		Code: outOfService, Severity: Warning, Title: "this pod is out of the Service",
		Meaning: "The source of peers has not listed this pod for 30 s, although it was a member and lives. Its readiness probe fails, its labels have changed, or DNS no longer lists it.",
		Cure:    "Nothing, if that is intended: its connections are drained within the budgets. Otherwise make the pod ready, or restore its labels.",
	},
	{
		Code: otherSalt, Severity: Warning, After: 10 * time.Second, Title: "pods have different salts",
		Meaning: "Other pods hash clients' keys with another `peers.salt`. This pod and they do not recognize each other's clients, so new pods count as pods that cannot be queried.",
		Cure:    "Give all pods the same `peers.salt`. While a changed salt is rolled out, this is expected.",
	},
	{
		Code: zoneShort, Severity: Warning, After: 3 * time.Minute, Title: "a zone has too few pods",
		Meaning: "EndpointSlice hints keep clients in their own zone, and the pods of one zone carry more than the band around the fleet's mean allows. No move can help there.",
		Cure:    "Add pods in the zone named in the text, or remove `trafficDistribution` from the Service.",
	},
	{
		Code: framesLost, Severity: Warning, Title: "connections cannot be drained",
		Meaning: "evenkeel has lost track of the HTTP/2 frames of some live connections. They are served as usual but never drained. Clients that never spoke HTTP/2 do not count: a cloud's health check may speak HTTP/1.1 to the port.",
		Cure:    "Find out which client opens them, and file an issue.",
	},
	{
		Code: unbalanceable, Severity: Info, After: 30 * time.Second, Title: "the load cannot be evened out",
		Meaning: "The verdict is `unbalanceable`: no move can even out the load.",
		Cure:    "Follow the text: it names what would help.",
	},
	{
		Code: noConnections, Severity: Info, After: 5 * time.Minute, Title: "no connection has come",
		Meaning: "No connection was tracked in the first 5 min of `Balancer.Run`. Either no client has connected yet, or the gRPC server was made without `serveropts.Options`, or the web server serves without `serveropts.HTTPServer`.",
		Cure:    "If clients are connected, pass `serveropts.Options(bal, creds)` to `grpc.NewServer`.",
		Causes:  []string{untracked, otherBalancer, serveHTTP},
	},
	{
		Code: oneAddress, Severity: Info, After: 5 * time.Minute, Title: "all connections come from one address",
		Meaning: "At least 8 connections are open, and all come from one address or from this machine, as behind a sidecar, a proxy or a NAT. They count as one client. Their number is still evened out, but clients that already know all pods cannot be recognized.",
		Cure:    "If clients send a header that names them, call `rebalance.SetKey` with it in handlers. If there is only one client, nothing.",
	},
	{
		Code: slowDrain, Severity: Info, Title: "drained connections stay open",
		Meaning: "Connections that were drained more than 5 min ago still have streams open.",
		Cure:    "End long streams in their handlers when `rebalance.Draining` closes, or set `rebalance.grace`.",
	},
	{
		Code: restartNeeded, Severity: Info, Title: "a restart is needed",
		Meaning: "Some changed keys take effect only after a restart.",
		Cure:    "Restart the pods one by one (`kubectl rollout restart`).",
	},
	{
		Code: switchedOff, Severity: Info, Title: "rebalancing is switched off",
		Meaning: "`rebalance.enabled` is false, in the file named in the text or in another layer of the configuration. No connection is moved.",
		Cure:    "Nothing, if that is intended. Otherwise set it to true there, and remove what throws it in the switch file.",
	},
	{
		Code: dryRunning, Severity: Info, Title: "this is a dry run",
		Meaning: "`rebalance.dryRun` is true. Decisions are shown with the action `planned` and counted in `evenkeel_drains_planned_total`, and no connection is drained for balance.",
		Cure:    "Nothing, if that is intended. To let decisions take effect, set `rebalance.dryRun` to false.",
	},
}

// infoOf is the table by code. Conditions of the user's own are not in it.
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
	// Meaning describes it in a sentence.
	Meaning string
	// Good reports whether nothing is wrong: the load is even, or on its way to be.
	Good bool
}

// VerdictTable returns every verdict with its meaning.
func VerdictTable() []VerdictInfo { return slices.Clone(verdictTable) }

var verdictTable = []VerdictInfo{
	{Balanced, "No connection needs to move.", true},
	{Moving, "Connections are being moved, or are about to be.", true},
	{Checking, "This pod has drained multi-homed clients so that they find new pods. It checks whether they have, once resolvers have had their 30 s. The load may long be even.", true},
	{Waiting, "It is too early to move connections: the membership is still changing, DNS does not list all pods, or a cooldown runs. Or it is a dry run, and the sentence beside it names what would be drained.", true},
	{Unbalanceable, "No move can even out the load. The sentence beside it names what would help.", false},
	{Stale, "Too little is known of the other pods, so no connection is moved.", false},
	{Disabled, "`rebalance.enabled` is false, there is no source of peers, Run has ended, or the pod is stopping.", true},
	{Overloaded, "This pod is overloaded. It sheds load if another pod can take it.", false},
	{OutOfService, "This pod lives but should carry no load, because the Service no longer lists it. It drains its connections and serves clients that still come.", true},
}

// Verdicts returns every Verdict.
func Verdicts() []Verdict {
	out := make([]Verdict, len(verdictTable))
	for i, v := range verdictTable {
		out[i] = v.Verdict
	}
	return out
}
