package health

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Other programs rely on these names. A line may be added, never changed.
var (
	contractStatusz = map[string]string{ // JSON types by key
		"pod": "string", "connections": "number", "draining": "number", "peers": "list",
		"weight": "string", "load": "number", "meanLoad": "number",
		"share": "number", "warm": "number",
		"goaways": "object", "verdict": "string", "why": "string", "conditions": "list", "decisions": "list",
	}
	contractItems = map[string][]string{ // keys of the items by list
		"peers":      {"pod", "address", "ready", "connections"},
		"conditions": {"code", "severity", "text", "since"},
		"decisions":  {"at", "action", "count", "why"},
	}
	contractVerdicts = []string{"balanced", "moving", "checking", "waiting", "unbalanceable", "stale", "disabled", "overloaded", "draining"}
	contractPaths    = []string{"/livez", "/readyz", "/readyz?verbose", "/metrics", "/statusz", "/peerz", "/"}
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
		t.Errorf("got Content-Type %q, want application/json", ct)
	}
	return got
}

// The types hold for an empty Status, too: null is neither a list nor an object.
func TestContractStatusz(t *testing.T) {
	for name, st := range map[string]rebalance.Status{"empty": {}, "full": sampleStatus(epoch)} {
		got := statuszOf(t, st)
		for key, want := range contractStatusz {
			if typ := jsonType(got[key]); typ != want {
				t.Errorf("%s: %s: got a %s, want a %s", name, key, typ, want)
			}
		}
	}
}

func TestContractItems(t *testing.T) {
	got := statuszOf(t, sampleStatus(epoch))
	for list, keys := range contractItems {
		items := got[list].([]any)
		if len(items) == 0 {
			t.Errorf("%s is empty", list)
		}
		for _, item := range items {
			for _, key := range keys {
				if _, ok := item.(map[string]any)[key]; !ok {
					t.Errorf("%s: item %v has no %s", list, item, key)
				}
			}
		}
	}
}

func TestContractVerdicts(t *testing.T) {
	if got := fmt.Sprint(rebalance.Verdicts()); got != fmt.Sprint(contractVerdicts) {
		t.Errorf("got verdicts %v, want %v", got, contractVerdicts)
	}
}

func TestContractPaths(t *testing.T) {
	h := handler(t, newFake(rebalance.Status{}))
	for _, path := range contractPaths {
		if w := get(t, h, path); w.Code != 200 {
			t.Errorf("%s: got %d, want 200", path, w.Code)
		}
	}
}
