package metrics

import (
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/evenkeel-go/evenkeel/internal/shown"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Collector returns evenkeel's metrics for a registry of your own. It reads
// [rebalance.Balancer.Status] once per scrape. If one process has two Balancers, give each
// its own labels with [prometheus.WrapRegistererWith].
func Collector(bal *rebalance.Balancer) prometheus.Collector { return newCollector(bal) }

// source is what the metrics need of a [rebalance.Balancer].
type source interface{ Status() rebalance.Status }

type collector struct{ src source }

func newCollector(src source) *collector { return &collector{src: src} }

// The metrics. Dashboards and alerts rely on their names and labels.
var (
	descConnections = desc("connections",
		"Live client connections of this pod, including those that are draining.")
	descDraining = desc("connections_draining",
		"Live client connections that were sent a GOAWAY and are not closed yet.")
	descOpened = desc("connections_opened_total",
		"Client connections that this pod has accepted and tracked since it started.")
	descStreams = desc("streams",
		"Streams (RPCs) in flight on this pod's connections.")
	descLoad = desc("load",
		"This pod's load, without draining connections, by the weight in force: connections, requests (per second), streams (in flight) or custom.", "weight")
	descLoadMean = desc("load_mean",
		"Mean load, by the weight in force, of this pod and the pods that reported within the last 10 s; 0 while too few have. Where shares differ, what this pod would carry at the same load per share.", "weight")
	descShare = desc("share",
		"How much load this pod should carry in proportion to the other pods: its capacity, less while it warms up or is overloaded. 1 where pods are alike.")
	descWarm = desc("warm",
		"How far this pod has warmed up (rebalance.warmup), from 0.1 to 1.")
	descUntracked = desc("rpcs_untracked_total",
		"RPCs on connections that this Balancer does not track. While it rises, a condition names the cause: untracked, serve-http or other-balancer.")
	descKeys = desc("keys",
		"Distinct clients, by their key, with connections to this pod.")
	descPeers = desc("peers",
		"Pods of the service that this pod knows, including itself.")
	descPeersReady = desc("peers_ready",
		"Pods of the service that this pod knows to be ready, including itself.")
	descGoAways = desc("goaways_total",
		"Connections that were sent a GOAWAY, by reason: reach, even, age, overload, shutdown, manual, or server where gRPC itself sent it.", "reason")
	descPlanned = desc("drains_planned_total",
		"Connections that a dry run (rebalance.dryRun) would have drained, by reason: reach, even, overload or evacuation.", "reason")
	descEnabled = desc("enabled",
		"1 while rebalancing is on, 0 while the kill switch is thrown (rebalance.enabled: false).")
	descDryRun = desc("dry_run",
		"1 while rebalance.dryRun is true: decisions are only shown.")
	descClosed = desc("connections_closed_total",
		"Connections that were closed, by how: clean (drained, all RPCs finished; by this pod or the client), forced (the grace period expired), client (not drained, or with RPCs in flight), or server (by gRPC itself).", "how")
	descVerdict = desc("verdict",
		"1 for the current verdict on the balance, 0 for every other verdict.", "verdict")
	descConditions = desc("conditions",
		"1 for each current condition; /readyz?verbose shows its text.", "code", "severity")
	descPlan = desc("plan_seconds",
		"Planning: the seconds it took (sum) and how often it ran (count).")
	descPeerErrors = desc("peer_errors_total",
		"Requests to peers that failed or got an unusable answer, by why.", "why")
	descReload = desc("config_reload_successful",
		"1 if the configuration file could be used when it was last read, 0 while the last good configuration is in force instead.")
	descViewAge = desc("view_age_seconds",
		"Time since the source of peers last reported a good view; without one, nothing is moved after 30 s. Absent before the first, and without a source.")
	descNotAfter = desc("certificate_not_after_seconds",
		"When the certificate of peers.tls expires, in seconds since 1970. Absent without peers.tls.")
	descNotBefore = desc("certificate_not_before_seconds",
		"When the certificate of peers.tls became valid, in seconds since 1970. Absent without peers.tls.")
	descReady = desc("ready",
		"1 while the pod is serving, 0 once it is stopping.")
	descBuild = desc("build_info",
		"Always 1; the labels are the versions of evenkeel, gRPC and Go in this program.", "version", "grpc_version", "goversion")

	descs []*prometheus.Desc // all of the above, added by desc
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("evenkeel_"+name, help, labels, nil)
	descs = append(descs, d)
	return d
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	st := shown.Status(c.src.Status())
	m := collection(ch)
	m.gauge(descReady, oneIf(st.Ready))
	m.gauge(descConnections, float64(st.Connections))
	m.gauge(descDraining, float64(st.Draining))
	m.gauge(descStreams, float64(st.Streams))
	m.gauge(descLoad, st.Load, st.Weight)
	m.gauge(descLoadMean, st.MeanLoad, st.Weight)
	m.gauge(descShare, st.Share)
	m.gauge(descWarm, st.Warm)
	m.gauge(descKeys, float64(st.Keys))
	m.gauge(descPeers, float64(len(st.Peers)))
	m.gauge(descPeersReady, float64(shown.ReadyPeers(st.Peers)))
	m.gauge(descBuild, 1, buildInfo()...)
	m.gauge(descReload, oneIf(!st.ConfigRejected))
	if st.ViewAge != nil {
		m.gauge(descViewAge, *st.ViewAge)
	}
	if c := st.Certificate; c != nil {
		m.gauge(descNotAfter, float64(c.NotAfter.Unix()))
		m.gauge(descNotBefore, float64(c.NotBefore.Unix()))
	}
	m.counter(descOpened, st.Tracked)
	m.counter(descUntracked, st.Untracked)
	m.counters(descGoAways, st.GoAways)
	m.counters(descPlanned, st.Planned)
	m.gauge(descEnabled, oneIf(st.Enabled))
	m.gauge(descDryRun, oneIf(st.DryRun))
	m.counters(descClosed, st.Closed)
	m.counters(descPeerErrors, st.PeerErrors)
	m.verdict(st.Verdict)
	m.conditions(st.Conditions)
	m <- prometheus.MustNewConstSummary(descPlan, st.Plans, st.PlanSeconds, nil)
}

// collection receives the metrics of one scrape. Its constructors panic on labels that are
// not UTF-8; shown.Status has replaced those.
type collection chan<- prometheus.Metric

func (m collection) gauge(d *prometheus.Desc, v float64, labels ...string) {
	m <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (m collection) counter(d *prometheus.Desc, v uint64, labels ...string) {
	m <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (m collection) counters(d *prometheus.Desc, by map[string]uint64) {
	for label, n := range by {
		m.counter(d, n, label)
	}
}

func (m collection) verdict(now rebalance.Verdict) {
	for _, v := range rebalance.Verdicts() {
		m.gauge(descVerdict, oneIf(v == now), string(v))
	}
}

// conditions sends each code and severity once: a repeated series would spoil the whole
// scrape.
func (m collection) conditions(cs []rebalance.Condition) {
	type series struct{ code, severity string }
	seen := make(map[series]bool, len(cs))
	for _, c := range cs {
		s := series{c.Code, string(c.Severity)}
		if !seen[s] {
			seen[s] = true
			m.gauge(descConditions, 1, s.code, s.severity)
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

const modulePath = "github.com/evenkeel-go/evenkeel"

// buildInfo returns the values of evenkeel_build_info's labels. The version is unknown in
// programs that were built without module support.
var buildInfo = sync.OnceValue(func() []string {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, mod := range append(info.Deps, &info.Main) {
			if mod.Path == modulePath {
				version = mod.Version
			}
		}
	}
	return []string{version, grpc.Version, runtime.Version()}
})
