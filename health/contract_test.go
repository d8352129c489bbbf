package health

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// What other programs rely on. A line here may be added, never changed.
var (
	contractStatusz = map[string]string{ // key to its JSON type
		"pod": "string", "connections": "number", "draining": "number", "peers": "list",
		"weight": "string", "load": "number", "meanLoad": "number",
		"goaways": "object", "verdict": "string", "why": "string", "conditions": "list", "decisions": "list",
	}
	contractItems = map[string][]string{ // list to the keys of its items
		"peers":      {"pod", "address", "ready", "connections"},
		"conditions": {"code", "severity", "text", "since"},
		"decisions":  {"at", "action", "count", "why"},
	}
	contractVerdicts = []string{"balanced", "moving", "waiting", "unbalanceable", "stale", "disabled", "overloaded"}
	contractMetrics  = []string{ // as they stand in the text format, with one of each label
		`evenkeel_connections `, `evenkeel_connections_draining `, `evenkeel_streams `, `evenkeel_peers `,
		`evenkeel_load{weight="streams"} `, `evenkeel_load_mean{weight="streams"} `,
		`evenkeel_goaways_total{reason="reach"} `, `evenkeel_goaways_total{reason="even"} `,
		`evenkeel_goaways_total{reason="age"} `, `evenkeel_goaways_total{reason="overload"} `,
		`evenkeel_goaways_total{reason="shutdown"} `, `evenkeel_goaways_total{reason="manual"} `,
		`evenkeel_connections_closed_total{how="clean"} `, `evenkeel_connections_closed_total{how="forced"} `,
		`evenkeel_connections_closed_total{how="client"} `,
		`evenkeel_verdict{verdict="balanced"} `, `evenkeel_plan_seconds_sum `, `evenkeel_plan_seconds_count `,
		`evenkeel_peer_errors_total{why="timeout"} `,
	}
	contractPaths = []string{"/livez", "/readyz", "/readyz?verbose", "/metrics", "/statusz", "/peerz", "/"}
)

func jsonType(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case []any:
		return "list"
	case map[string]any:
		return "object"
	case bool:
		return "bool"
	default:
		return fmt.Sprintf("%T", v)
	}
}

func statuszOf(t *testing.T, st rebalance.Status) map[string]any {
	t.Helper()
	w := get(t, handler(t, newFake(st)), "/statusz")
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	return got
}

// Types hold even when there is nothing to show: null is neither list nor object.
func TestContractStatusz(t *testing.T) {
	for name, st := range map[string]rebalance.Status{"empty": {}, "full": sampleStatus(epoch)} {
		got := statuszOf(t, st)
		for key, want := range contractStatusz {
			if typ := jsonType(got[key]); typ != want {
				t.Errorf("%s: %s is %s, want %s", name, key, typ, want)
			}
		}
	}
}

func TestContractItems(t *testing.T) {
	got := statuszOf(t, sampleStatus(epoch))
	for list, keys := range contractItems {
		items := got[list].([]any)
		if len(items) == 0 {
			t.Errorf("no %s", list)
		}
		for _, item := range items {
			for _, key := range keys {
				if _, ok := item.(map[string]any)[key]; !ok {
					t.Errorf("%s: an item has no %s: %v", list, key, item)
				}
			}
		}
	}
}

func TestContractVerdicts(t *testing.T) {
	if got := fmt.Sprint(rebalance.Verdicts()); got != fmt.Sprint(contractVerdicts) {
		t.Errorf("verdicts %v, want %v", got, contractVerdicts)
	}
}

func TestContractMetrics(t *testing.T) {
	body := get(t, handler(t, newFake(rebalance.Status{Weight: "streams"})), "/metrics").Body.String()
	for _, series := range contractMetrics {
		if !strings.Contains(body, "\n"+series) {
			t.Errorf("/metrics has no %s", series)
		}
	}
}

func TestContractPaths(t *testing.T) {
	h := handler(t, newFake(rebalance.Status{}))
	for _, path := range contractPaths {
		if w := get(t, h, path); w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
