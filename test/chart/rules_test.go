package chart

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"sigs.k8s.io/yaml"
)

func rules(t *testing.T, v values) *monitoring.PrometheusRule {
	t.Helper()
	return get[*monitoring.PrometheusRule](t, decode(t, render(t, v)), "PrometheusRule "+release)
}

// expressions returns the expression of each alert by its name.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range rules(t, parse(t, "prometheusRule: {enabled: true}")).Spec.Groups[0].Rules {
		out[r.Alert] = r.Expr.String()
	}
	return out
}

// alertOf returns the alert of that name.
func alertOf(t *testing.T, name string) monitoring.Rule {
	t.Helper()
	for _, r := range rules(t, parse(t, "prometheusRule: {enabled: true}")).Spec.Groups[0].Rules {
		if r.Alert == name {
			return r
		}
	}
	t.Fatalf("there is no alert %s", name)
	return monitoring.Rule{}
}

// ruleFiles returns the rules of two ci values as files that Prometheus can read.
func ruleFiles(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, file := range []string{"alerts", "monitoring"} {
		text, err := yaml.Marshal(rules(t, parse(t, read(t, chartDir+"/ci/"+file+"-values.yaml"))).Spec)
		if err != nil {
			t.Fatal(err)
		}
		out[file] = text
	}
	return out
}

// promtool returns the path of the promtool that promtool.sh installed, or of the one in the
// PATH. Without either it skips t, or fails it if CI=true.
func promtool(t *testing.T) string {
	t.Helper()
	for _, name := range []string{".tmp/promtool", "promtool"} {
		if path, err := exec.LookPath(name); err == nil {
			path, err = filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("promtool is missing, run test/chart/promtool.sh to install it")
	}
	t.Skip("promtool is missing, run test/chart/promtool.sh to install it (Debian)")
	return ""
}

// promtool must accept the rules.
func TestPromtool(t *testing.T) {
	tool := promtool(t)
	for name, text := range ruleFiles(t) {
		file := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, "check", "rules", file).CombinedOutput()
		t.Logf("%s", out)
		if err != nil || !strings.Contains(string(out), "SUCCESS: ") {
			t.Errorf("promtool refuses the rules of %s: %v\n%s", name, err, out)
		}
	}
}

// The newest rule parser of Prometheus must accept the rules, including the templates in
// their annotations.
func TestRulesAreValid(t *testing.T) {
	for file, text := range ruleFiles(t) {
		_, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		for _, err := range errs {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The schema lists the names of the alerts, so that it refuses a misspelt one in
// prometheusRule.disabled.
func TestRuleNames(t *testing.T) {
	var listed []string
	for _, name := range sub(t, schema(t), "definitions", "alert")["enum"].([]any) {
		listed = append(listed, fmt.Sprint(name))
	}
	sameKeys(t, "values.schema.json", listed, slices.Collect(maps.Keys(expressions(t))))
	for _, r := range rules(t, parse(t, "prometheusRule: {enabled: true, disabled: [EvenkeelChurn]}")).Spec.Groups[0].Rules {
		if r.Alert == "EvenkeelChurn" {
			t.Error("EvenkeelChurn is rendered although it is disabled")
		}
	}
}

// firing has a case for each alert: series with which it fires, and similar ones with which it
// does not. %[1]s stands for the labels of one pod, %[2]s for those of another.
var firing = []struct{ alert, bad, good, labels string }{
	{"EvenkeelBroken", `evenkeel_conditions{%s,code="untracked",severity="error"} 1x120`, `evenkeel_conditions{%s,code="overloaded",severity="warning"} 1x120`, `,code="untracked"`},
	{"EvenkeelAbsent", `up{%s} 1x120`, `evenkeel_ready{%s} 1x120`, ""},
	{"EvenkeelStaleView", `evenkeel_verdict{%s,verdict="stale"} 1x120`, `evenkeel_verdict{%s,verdict="stale"} 0x120`, ""},
	{"EvenkeelStuck", "evenkeel_plan_seconds_count{%[1]s} 7x120\n  evenkeel_ready{%[1]s} 1x120", "evenkeel_plan_seconds_count{%[1]s} 7x120\n  evenkeel_ready{%[1]s} 0x120", ""},
	{
		"EvenkeelUneven",
		"evenkeel_load{%[1]s,weight=\"connections\"} 40x120\n  evenkeel_load{%[2]s,weight=\"connections\"} 10x120\n  evenkeel_share{%[1]s} 1x120\n  evenkeel_share{%[2]s} 1x120",
		"evenkeel_load{%[1]s,weight=\"connections\"} 40x120\n  evenkeel_load{%[2]s,weight=\"connections\"} 10x120\n  evenkeel_share{%[1]s} 4x120\n  evenkeel_share{%[2]s} 1x120", "",
	},
	{
		"EvenkeelUnbalanceable",
		"evenkeel_verdict{%[1]s,verdict=\"unbalanceable\"} 1x120\n  evenkeel_load{%[1]s,weight=\"connections\"} 9x120",
		"evenkeel_verdict{%[1]s,verdict=\"unbalanceable\"} 1x120\n  evenkeel_load{%[1]s,weight=\"connections\"} 2x120", "",
	},
	{"EvenkeelForcedCloses", `evenkeel_connections_closed_total{%s,how="forced"} 0+1x120`, `evenkeel_connections_closed_total{%s,how="clean"} 0+1x120`, ""},
	{"EvenkeelPeersSilent", `evenkeel_conditions{%s,code="peers-silent",severity="warning"} 1x120`, `evenkeel_conditions{%s,code="slow-drain"} 1x120`, ""},
	{"EvenkeelConfigRejected", `evenkeel_config_reload_successful{%s} 0x120`, `evenkeel_config_reload_successful{%s} 1x120`, ""},
	{
		"EvenkeelCertificateExpires", // 90 days, of which 10 are left at the moment of the query; then 30
		"evenkeel_certificate_not_before_seconds{%[1]s} -6904800x120\n  evenkeel_certificate_not_after_seconds{%[1]s} 871200x120",
		"evenkeel_certificate_not_before_seconds{%[1]s} -5176800x120\n  evenkeel_certificate_not_after_seconds{%[1]s} 2599200x120", "",
	},
	{"EvenkeelRestartNeeded", `evenkeel_conditions{%s,code="restart-needed",severity="info"} 1x120`, `evenkeel_conditions{%s,code="dns-behind"} 1x120`, ""},
	{"EvenkeelSwitchedOff", `evenkeel_enabled{%s} 0x120`, `evenkeel_enabled{%s} 1x120`, ""},
	{"EvenkeelChurn", "evenkeel_goaways_total{%[1]s,reason=\"reach\"} 0+1x120\n  evenkeel_connections{%[1]s} 20x120", "evenkeel_goaways_total{%[1]s,reason=\"reach\"} 0+1x120\n  evenkeel_connections{%[1]s} 100x120", ""},
}

// Each alert must fire once for its own series of the release's pods, and for nothing else.
func TestRulesFire(t *testing.T) {
	const first, second = `namespace="shop",pod="hello-6d4cf56db6-x7k2p"`, `namespace="shop",pod="hello-6d4cf56db6-bbbbb"`
	all := expressions(t)
	for _, tc := range firing {
		expr := all[tc.alert]
		if expr == "" {
			t.Errorf("there is no alert %s", tc.alert)
			continue
		}
		labels := `{namespace="shop"` + tc.labels + "}"
		evaluate(t, tc.alert, seriesOf(tc.bad, first, second), expr, labels)
		evaluate(t, tc.alert, seriesOf(tc.good, first, second), expr, "")
		if tc.alert == "EvenkeelAbsent" {
			continue // other pods' series do not make up for it
		}
		for _, other := range []string{`namespace="other",pod="hello-6d4cf56db6-x7k2p"`, `namespace="shop",pod="hello-world-6d4cf56db6-x7k2p"`} {
			evaluate(t, tc.alert, seriesOf(tc.bad, other, strings.Replace(other, "x7k2p", "bbbbb", 1)), expr, "")
		}
		delete(all, tc.alert)
	}
	delete(all, "EvenkeelAbsent")
	if len(all) > 0 {
		t.Errorf("no case for %q", slices.Sorted(maps.Keys(all)))
	}
}

// Pods that come and go must not hide that connections move because of them. Every 5 minutes a
// third pod comes for 3, and 5 channels each get a GOAWAY for it. All 12 of these pods were
// there within the hour, but only one at a time.
func TestChurnOfFlappingPods(t *testing.T) {
	series := []string{
		`evenkeel_connections{namespace="shop",pod="hello-6d4cf56db6-aaaaa"} 5x120`,
		`evenkeel_connections{namespace="shop",pod="hello-6d4cf56db6-bbbbb"} 5x120`,
		`evenkeel_goaways_total{namespace="shop",pod="hello-6d4cf56db6-aaaaa",reason="reach"} 0+1x120`,
	}
	for i := range 12 {
		series = append(series, fmt.Sprintf(`evenkeel_connections{namespace="shop",pod="hello-6d4cf56db6-flap%c"} _x%d 5x3 stale`, 'a'+i, 60+5*i))
	}
	evaluate(t, "EvenkeelChurn", strings.Join(series, "\n  "), expressions(t)["EvenkeelChurn"], `{namespace="shop"}`)
}

// A client that always comes back is drained three times within minutes and then left alone. That
// is more than two GOAWAYs per connection, but it is over before the alert fires.
func TestNoChurnByATrial(t *testing.T) {
	series := `evenkeel_connections{namespace="shop",pod="hello-6d4cf56db6-aaaaa"} 20x300
  evenkeel_goaways_total{namespace="shop",pod="hello-6d4cf56db6-aaaaa",reason="even"} 0x10 20 41x10 61x270`
	alert := alertOf(t, "EvenkeelChurn")
	hold, err := model.ParseDuration(string(*alert.For))
	if err != nil {
		t.Fatal(err)
	}
	// It is true without a gap, so the number of minutes is how long.
	held := time.Duration(len(minutes(t, series, alert.Expr.String(), 4*time.Hour))) * time.Minute
	if held < 30*time.Minute || held >= time.Duration(hold) {
		t.Errorf("the alert is true for %v, want 30m at least, and less than its %v", held, hold)
	}
}

// A fault of all pods, such as an outage of the API server, is one alert for the release.
func TestOneAlertForAllPods(t *testing.T) {
	for alert, series := range map[string]string{
		"EvenkeelStaleView": `evenkeel_verdict{%s,verdict="stale"} 1x120`, "EvenkeelPeersSilent": `evenkeel_conditions{%s,code="peers-silent"} 1x120`,
		"EvenkeelConfigRejected": `evenkeel_config_reload_successful{%s} 0x120`, "EvenkeelSwitchedOff": `evenkeel_enabled{%s} 0x120`,
	} {
		var lines []string
		for _, pod := range []string{"aaaaa", "bbbbb", "ccccc"} {
			lines = append(lines, fmt.Sprintf(series, `namespace="shop",pod="hello-6d4cf56db6-`+pod+`"`))
		}
		evaluate(t, alert, strings.Join(lines, "\n  "), expressions(t)[alert], `{namespace="shop"}`)
	}
}

// Nothing pages while traffic flows: only RPCs that fail are critical.
func TestSeverities(t *testing.T) {
	for _, r := range rules(t, parse(t, "prometheusRule: {enabled: true}")).Spec.Groups[0].Rules {
		if got := r.Labels["severity"] == "critical"; got != (r.Alert == "EvenkeelForcedCloses") {
			t.Errorf("%s has the severity %s", r.Alert, r.Labels["severity"])
		}
		if r.Labels["release"] != release {
			t.Errorf("%s does not name the release: %v", r.Alert, r.Labels)
		}
	}
}

func seriesOf(format, first, second string) string {
	if !strings.Contains(format, "%[") {
		return fmt.Sprintf(format, first)
	}
	return strings.NewReplacer("%[1]s", first, "%[2]s", second).Replace(format)
}

// evaluate fails t unless expr selects exactly one series with these labels after two hours, or
// none if labels is empty.
func evaluate(t *testing.T, name, series, expr, labels string) {
	t.Helper()
	query(t, series, func(ctx context.Context, engine promql.QueryEngine, storage storage.Queryable) (promql.Query, error) {
		return engine.NewInstantQuery(ctx, storage, nil, expr, time.Unix(7200, 0))
	}, func(r *promql.Result) error {
		got, err := r.Vector()
		var found []string
		for _, s := range got {
			found = append(found, s.Metric.String())
		}
		if text := strings.Join(found, " "); err == nil && normal(text) != normal(labels) {
			t.Errorf("%s with %s: got %s, want %s", name, series, text, labels)
		}
		return err
	})
}

// minutes returns the minutes at which expr selects its only series, up to a time.
func minutes(t *testing.T, series, expr string, end time.Duration) (points []promql.FPoint) {
	t.Helper()
	query(t, series, func(ctx context.Context, engine promql.QueryEngine, storage storage.Queryable) (promql.Query, error) {
		return engine.NewRangeQuery(ctx, storage, nil, expr, time.Unix(0, 0), time.Unix(int64(end.Seconds()), 0), time.Minute)
	}, func(r *promql.Result) error {
		got, err := r.Matrix()
		if len(got) == 1 {
			points = got[0].Floats
		}
		return err
	})
	return points
}

// query makes a query about series that have a sample a minute, and reads its result.
func query(t *testing.T, series string, ask func(context.Context, promql.QueryEngine, storage.Queryable) (promql.Query, error), read func(*promql.Result) error) {
	t.Helper()
	loaded := promqltest.LoadedStorage(t, "load 1m\n  "+series+"\n")
	defer loaded.Close()
	q, err := ask(t.Context(), promqltest.NewTestEngine(t, false, 0, 10000), loaded)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := read(q.Exec(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// normal sorts a set of labels.
func normal(labels string) string {
	parts := strings.Split(strings.Trim(strings.ReplaceAll(labels, ", ", ","), "{}"), ",")
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// Alerts may use only metrics that the server exports.
func TestRulesUseExportedMetrics(t *testing.T) {
	source := read(t, "../../health/metrics/collector.go")
	for name, expr := range expressions(t) {
		node, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
		if err != nil {
			t.Fatal(err)
		}
		parser.Inspect(node, func(n parser.Node, _ []parser.Node) error {
			if s, ok := n.(*parser.VectorSelector); ok && !strings.Contains(source, `desc("`+strings.TrimSuffix(strings.TrimPrefix(s.Name, "evenkeel_"), "_count")+`"`) {
				t.Errorf("%s uses %s, which is not a metric of the server", name, s.Name)
			}
			return nil
		})
	}
}
