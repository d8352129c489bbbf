package health

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// gather returns the metric families of a fresh registry by name.
func gather(t testing.TB, src source) map[string]*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(newCollector(src))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		out[f.GetName()] = f
	}
	return out
}

// values returns a family's series by their labels, such as "reason=reach".
func values(f *dto.MetricFamily) map[string]float64 {
	out := make(map[string]float64)
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		out[strings.Join(labels, ",")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return out
}

func wantValues(t *testing.T, got, want map[string]float64) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestMetricsPassTheLinter(t *testing.T) {
	for name, st := range map[string]rebalance.Status{"empty": {}, "full": sampleStatus(epoch)} {
		problems, err := testutil.CollectAndLint(newCollector(newFake(st)))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
	}
}

func TestSeriesExistFromTheStart(t *testing.T) {
	got := gather(t, newFake(rebalance.Status{}))
	wantValues(t, values(got["evenkeel_goaways_total"]), map[string]float64{
		"reason=reach": 0, "reason=even": 0, "reason=age": 0, "reason=overload": 0,
		"reason=shutdown": 0, "reason=manual": 0, "reason=server": 0,
	})
	wantValues(t, values(got["evenkeel_connections_closed_total"]), map[string]float64{
		"how=clean": 0, "how=forced": 0, "how=client": 0, "how=server": 0,
	})
	wantValues(t, values(got["evenkeel_peer_errors_total"]), map[string]float64{
		"why=timeout": 0, "why=refused": 0, "why=status": 0, "why=size": 0, "why=json": 0,
		"why=nonsense": 0, "why=wrong_pod": 0, "why=tls": 0, "why=other": 0,
	})
}

func TestMetricsShowTheStatus(t *testing.T) {
	src := newFake(sampleStatus(epoch))
	got := gather(t, src)
	for name, want := range map[string]float64{
		"evenkeel_connections": 112, "evenkeel_connections_draining": 4, "evenkeel_streams": 31,
		"evenkeel_connections_opened_total": 503, "evenkeel_keys": 40, "evenkeel_peers": 5,
		"evenkeel_peers_ready": 4, "evenkeel_ready": 1, "evenkeel_rpcs_untracked_total": 0,
	} {
		wantValues(t, values(got[name]), map[string]float64{"": want})
	}
	wantValues(t, values(got["evenkeel_load"]), map[string]float64{"weight=connections": 108})
	wantValues(t, values(got["evenkeel_load_mean"]), map[string]float64{"weight=connections": 87.5})
	wantValues(t, values(got["evenkeel_conditions"]), map[string]float64{
		"code=untracked,severity=error": 1, "code=peer-unreachable,severity=warning": 1, "code=dns-behind,severity=info": 1,
	})
	plan := got["evenkeel_plan_seconds"].GetMetric()[0].GetSummary()
	if plan.GetSampleCount() != 2300 || plan.GetSampleSum() != 0.31 {
		t.Errorf("evenkeel_plan_seconds: %v", plan)
	}
	src.stop()
	wantValues(t, values(gather(t, src)["evenkeel_ready"]), map[string]float64{"": 0})
}

func TestExactlyOneVerdictIsOne(t *testing.T) {
	for _, now := range rebalance.Verdicts() {
		want := make(map[string]float64)
		for _, v := range rebalance.Verdicts() {
			want["verdict="+string(v)] = oneIf(v == now)
		}
		got := gather(t, newFake(rebalance.Status{Verdict: now}))
		wantValues(t, values(got["evenkeel_verdict"]), want)
	}
}

// The same condition twice, or labels that are the same once they are valid,
// must not spoil the scrape.
func TestSeriesThatWouldCollide(t *testing.T) {
	got := gather(t, newFake(rebalance.Status{
		Conditions: []rebalance.Condition{{Code: "a", Severity: "error"}, {Code: "a", Severity: "error"}, {Code: "a", Severity: "info"}},
		PeerErrors: map[string]uint64{"a\xff": 1, "a\xfe": 2},
	}))
	if n := len(got["evenkeel_conditions"].GetMetric()); n != 2 {
		t.Errorf("%d series of evenkeel_conditions, want 2", n)
	}
	if n := values(got["evenkeel_peer_errors_total"])["why=a\uFFFD"]; n != 3 {
		t.Errorf("two labels that became one count %v, want 3", n)
	}
}

func TestBuildInfo(t *testing.T) {
	info := gather(t, newFake(rebalance.Status{}))["evenkeel_build_info"].GetMetric()
	for _, l := range info[0].GetLabel() {
		if l.GetValue() == "" {
			t.Errorf("label %s is empty", l.GetName())
		}
	}
}

func TestOwnRegistryHasGoAndProcess(t *testing.T) {
	body := get(t, handler(t, newFake(sampleStatus(epoch))), "/metrics").Body.String()
	for _, name := range []string{"go_goroutines", "process_start_time_seconds", "evenkeel_connections"} {
		if !strings.Contains(body, "\n"+name+" ") {
			t.Errorf("/metrics has no %s", name)
		}
	}
}

func TestWithRegisterer(t *testing.T) {
	reg := prometheus.NewRegistry()
	mine := prometheus.NewGauge(prometheus.GaugeOpts{Name: "mine", Help: "Mine."})
	reg.MustRegister(mine)
	src := newFake(sampleStatus(epoch))
	for range 2 { // the same Balancer again is no error
		body := get(t, handler(t, src, WithRegisterer(reg)), "/metrics").Body.String()
		if !strings.Contains(body, "\nmine 0") || !strings.Contains(body, "\nevenkeel_connections 112") {
			t.Error("/metrics does not show both")
		}
		if strings.Contains(body, "go_goroutines") {
			t.Error("Go's metrics are the user's affair in the user's registry")
		}
	}
	if _, err := newHandler(newFake(rebalance.Status{}), newOptions([]Option{WithRegisterer(reg)})); err == nil {
		t.Error("two Balancers in one registry without labels: no error")
	}
}

func TestWithRegistererThatCannotGather(t *testing.T) {
	reg := prometheus.NewRegistry()
	wrapped := prometheus.WrapRegistererWith(prometheus.Labels{"service": "hello"}, reg)
	h := handler(t, newFake(sampleStatus(epoch)), WithRegisterer(wrapped))
	if body := get(t, h, "/metrics").Body.String(); !strings.Contains(body, "\nevenkeel_connections 112") {
		t.Error("/metrics does not show evenkeel's metrics")
	}
	families, err := reg.Gather()
	if err != nil || !slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "evenkeel_connections" }) {
		t.Errorf("the user's registry has no evenkeel_connections: %v", err)
	}
}
