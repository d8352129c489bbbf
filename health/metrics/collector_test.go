package metrics

import (
	"bytes"
	"context"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/internal/shown"
	"github.com/evenkeel-go/evenkeel/rebalance"
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

// values returns a family's values by their labels, such as "reason=reach".
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
	for name, st := range map[string]rebalance.Status{"empty": {}, "full": sampleStatus()} {
		problems, err := testutil.CollectAndLint(newCollector(&fake{st}))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
	}
}

// What is not there is no series, rather than a 0 that an alert would take for a time.
func TestViewAndCertificate(t *testing.T) {
	names := []string{"evenkeel_view_age_seconds", "evenkeel_certificate_not_after_seconds", "evenkeel_certificate_not_before_seconds"}
	got := gather(t, &fake{rebalance.Status{ConfigRejected: true}})
	for _, name := range names {
		if got[name] != nil {
			t.Errorf("%s is there without a view and a certificate", name)
		}
	}
	wantValues(t, values(got["evenkeel_config_reload_successful"]), map[string]float64{"": 0})
	age := 2.5
	got = gather(t, &fake{rebalance.Status{ViewAge: &age, Certificate: &rebalance.Validity{NotBefore: time.Unix(10, 0), NotAfter: time.Unix(20, 0)}}})
	for i, want := range []float64{2.5, 20, 10} {
		wantValues(t, values(got[names[i]]), map[string]float64{"": want})
	}
	wantValues(t, values(got["evenkeel_config_reload_successful"]), map[string]float64{"": 1})
}

func TestSeriesExistFromTheStart(t *testing.T) {
	got := gather(t, &fake{})
	wantValues(t, values(got["evenkeel_goaways_total"]), map[string]float64{
		"reason=reach": 0, "reason=even": 0, "reason=age": 0, "reason=expiry": 0, "reason=overload": 0,
		"reason=evacuation": 0, "reason=shutdown": 0, "reason=manual": 0, "reason=server": 0,
	})
	wantValues(t, values(got["evenkeel_connections_closed_total"]), map[string]float64{
		"how=clean": 0, "how=forced": 0, "how=client": 0, "how=server": 0,
	})
	wantValues(t, values(got["evenkeel_peer_errors_total"]), map[string]float64{
		"why=timeout": 0, "why=refused": 0, "why=status": 0, "why=size": 0, "why=json": 0,
		"why=nonsense": 0, "why=wrong_pod": 0, "why=tls": 0, "why=http2": 0, "why=other": 0,
	})
}

func TestMetricsShowTheStatus(t *testing.T) {
	src := &fake{sampleStatus()}
	got := gather(t, src)
	for name, want := range map[string]float64{
		"evenkeel_connections": 112, "evenkeel_connections_draining": 4, "evenkeel_streams": 31,
		"evenkeel_connections_opened_total": 503, "evenkeel_keys": 40, "evenkeel_peers": 5,
		"evenkeel_peers_ready": 4, "evenkeel_ready": 1, "evenkeel_rpcs_untracked_total": 0,
		"evenkeel_share": 2, "evenkeel_warm": 0.5,
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
		t.Errorf("got evenkeel_plan_seconds %v, want count 2300 and sum 0.31", plan)
	}
	src.st.Ready = false
	wantValues(t, values(gather(t, src)["evenkeel_ready"]), map[string]float64{"": 0})
}

func TestExactlyOneVerdictIsOne(t *testing.T) {
	for _, now := range rebalance.Verdicts() {
		want := make(map[string]float64)
		for _, v := range rebalance.Verdicts() {
			want["verdict="+string(v)] = oneIf(v == now)
		}
		got := gather(t, &fake{rebalance.Status{Verdict: now}})
		wantValues(t, values(got["evenkeel_verdict"]), want)
	}
}

// A repeated condition must not spoil the scrape, nor must labels that are equal once they
// are valid UTF-8.
func TestCollidingSeriesAreMerged(t *testing.T) {
	got := gather(t, &fake{rebalance.Status{
		Conditions: []rebalance.Condition{{Code: "a", Severity: "error"}, {Code: "a", Severity: "error"}, {Code: "a", Severity: "info"}},
		PeerErrors: map[string]uint64{"a\xff": 1, "a\xfe": 2},
	}})
	if n := len(got["evenkeel_conditions"].GetMetric()); n != 2 {
		t.Errorf("got %d series of evenkeel_conditions, want 2", n)
	}
	if n := values(got["evenkeel_peer_errors_total"])["why=a\uFFFD"]; n != 3 {
		t.Errorf("got %v for the merged label, want 3", n)
	}
}

func TestBuildInfoHasAllLabels(t *testing.T) {
	info := gather(t, &fake{})["evenkeel_build_info"].GetMetric()
	for _, l := range info[0].GetLabel() {
		if l.GetValue() == "" {
			t.Errorf("label %s is empty", l.GetName())
		}
	}
}

var hostile = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "' onload='x", "{{.}}",
	"line\nbreak\r\n[+]serving ok", "\x1b[31mred\x1b[0m", "nul\x00", "bad\xff\xfe utf-8", "\u2028\u202e", `\"\n`, strings.Repeat("long", 1000),
}

func TestHostileLabelsAreOnlyLabels(t *testing.T) {
	for _, s := range hostile {
		checkHostile(t, s)
	}
}

func FuzzLabelsAreOnlyLabels(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(checkHostile)
}

// checkHostile puts s into every text and checks that a scraper reads back the same label.
func checkHostile(t *testing.T, s string) {
	t.Helper()
	s = "x" + s // a known label stays another one, and an empty one is never known
	st := sampleStatus()
	st.Pod, st.Verdict, st.Weight = s, rebalance.Verdict(s), s
	for i := range st.Conditions {
		st.Conditions[i].Code, st.Conditions[i].Severity = s, rebalance.Severity(s)
	}
	st.GoAways, st.Closed, st.PeerErrors = map[string]uint64{s: 1}, map[string]uint64{s: 1}, map[string]uint64{s: 1}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader([]byte(scrape(t, handler(t, &fake{st})))))
	if err != nil {
		t.Fatalf("cannot parse /metrics: %v", err)
	}
	want := "reason=" + shown.Valid(s)
	if got := values(families["evenkeel_goaways_total"]); got[want] != 1 {
		t.Errorf("evenkeel_goaways_total has no %q: %v", want, got)
	}
}

// One Check reveals a server whose connections are not tracked, through the whole health
// endpoint of a real Balancer.
func TestUntrackedServerIsVisible(t *testing.T) {
	bal, err := rebalance.New(config.Default(), rebalance.WithSelf("pod-a", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	h := health.Handler(bal, health.WithMetrics(Handler(bal)))
	if body := scrape(t, h); !strings.Contains(body, "\nevenkeel_rpcs_untracked_total 0\n") {
		t.Errorf("/metrics shows untracked RPCs before the first one:\n%s", body)
	}
	checkOnce(t, bal)
	if body := scrape(t, h); !strings.Contains(body, "\nevenkeel_rpcs_untracked_total 1\n") {
		t.Errorf("/metrics does not show the untracked RPC:\n%s", body)
	}
}

// checkOnce calls grpc.health.v1 once, on a server without evenkeel's credentials.
func checkOnce(t *testing.T, bal *rebalance.Balancer) {
	t.Helper()
	ln := bufconn.Listen(1 << 16)
	srv := grpc.NewServer()
	health.Register(srv, bal)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	cc, err := grpc.NewClient("passthrough:///mem", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	_ = cc.Close()
	srv.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
