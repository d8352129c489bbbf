package health

import (
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
)

// Collector returns evenkeel's metrics for a registry of yours. It reads
// [rebalance.Balancer.Status] once for each scrape. Two Balancers in one process
// need labels to tell them apart: see [prometheus.WrapRegistererWith].
func Collector(bal *rebalance.Balancer) prometheus.Collector { return newCollector(sourceOf(bal)) }

type collector struct{ src source }

func newCollector(src source) *collector { return &collector{src: src} }

// The metrics. Their names and labels are a promise to dashboards and alerts.
var (
	descConnections = desc("connections",
		"Live client connections of this pod, those asked to leave included.")
	descDraining = desc("connections_draining",
		"Live client connections that were asked to leave and have not gone yet.")
	descOpened = desc("connections_opened_total",
		"Client connections ever opened to this pod, as far as they are tracked.")
	descStreams = desc("streams",
		"Streams (RPCs) in flight on this pod's connections.")
	descLoad = desc("load",
		"This pod's load by the weight in force: connections, requests (per second), streams (in flight) or custom; connections that were asked to leave are not in it.", "weight")
	descLoadMean = desc("load_mean",
		"Mean load, by the weight in force, over this pod and those that told of theirs within 10 s; 0 while too few did.", "weight")
	descUntracked = desc("rpcs_untracked_total",
		"RPCs seen whose connection is not tracked. Above 0 the server was made without evenkeel's credentials, and nothing can be moved.")
	descKeys = desc("keys",
		"Distinct clients, as told apart by their key, that have connections to this pod.")
	descPeers = desc("peers",
		"Pods of the service that this pod knows of, itself included.")
	descPeersReady = desc("peers_ready",
		"Pods of the service that this pod knows to be ready, itself included.")
	descGoAways = desc("goaways_total",
		"Connections sent a GOAWAY, by reason: reach, even, age, overload, shutdown, manual, or server for those that gRPC sent by itself.", "reason")
	descClosed = desc("connections_closed_total",
		"Connections that ended, by how: clean (asked to leave, all RPCs finished), forced (their grace was over), client, or server (by gRPC itself).", "how")
	descVerdict = desc("verdict",
		"1 for the verdict on the balance that holds now, 0 for every other.", "verdict")
	descConditions = desc("conditions",
		"1 for each condition that holds now; /readyz?verbose has its text.", "code", "severity")
	descPlan = desc("plan_seconds",
		"Seconds that planning took, as sum, and how many times it ran, as count.")
	descPeerErrors = desc("peer_errors_total",
		"Requests to peers that failed or made no sense, by why.", "why")
	descReady = desc("ready",
		"1 while the pod serves, 0 once it is stopping.")
	descBuild = desc("build_info",
		"Always 1; the labels are the versions of evenkeel, gRPC and Go in this program.", "version", "grpc_version", "goversion")

	descs []*prometheus.Desc // all of the above, by desc
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
	st := look(c.src)
	m := metrics(ch)
	m.gauge(descReady, oneIf(!stopping(c.src)))
	m.gauge(descConnections, float64(st.Connections))
	m.gauge(descDraining, float64(st.Draining))
	m.gauge(descStreams, float64(st.Streams))
	m.gauge(descLoad, st.Load, st.Weight)
	m.gauge(descLoadMean, st.MeanLoad, st.Weight)
	m.gauge(descKeys, float64(st.Keys))
	m.gauge(descPeers, float64(len(st.Peers)))
	m.gauge(descPeersReady, float64(readyPeers(st.Peers)))
	m.gauge(descBuild, 1, buildInfo()...)
	m.counter(descOpened, st.Tracked)
	m.counter(descUntracked, st.Untracked)
	m.counters(descGoAways, st.GoAways)
	m.counters(descClosed, st.Closed)
	m.counters(descPeerErrors, st.PeerErrors)
	m.verdict(st.Verdict)
	m.conditions(st.Conditions)
	m <- prometheus.MustNewConstSummary(descPlan, st.Plans, st.PlanSeconds, nil)
}

// metrics is where a collection goes. All labels that do not come from constants
// have been through look, which makes them valid.
type metrics chan<- prometheus.Metric

func (m metrics) gauge(d *prometheus.Desc, v float64, labels ...string) {
	m <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (m metrics) counter(d *prometheus.Desc, v uint64, labels ...string) {
	m <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (m metrics) counters(d *prometheus.Desc, by map[string]uint64) {
	for label, n := range by {
		m.counter(d, n, label)
	}
}

func (m metrics) verdict(now rebalance.Verdict) {
	for _, v := range rebalance.Verdicts() {
		m.gauge(descVerdict, oneIf(v == now), string(v))
	}
}

// conditions shows each code and severity once, since the same series twice would
// spoil the whole scrape.
func (m metrics) conditions(cs []rebalance.Condition) {
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

// buildInfo returns the values of evenkeel_build_info's labels. Programs built
// without module support do not know the version of evenkeel.
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
