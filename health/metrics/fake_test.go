package metrics

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a source with a Status that the test sets.
type fake struct{ st rebalance.Status }

func (f *fake) Status() rebalance.Status { return f.st }

func handler(t testing.TB, src source, opts ...Option) http.Handler {
	t.Helper()
	h, err := newHandler(src, opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func scrape(t testing.TB, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("got status %d, want 200:\n%s", w.Code, w.Body)
	}
	return w.Body.String()
}

// sampleStatus is the Status of a pod in a fleet of five.
func sampleStatus() rebalance.Status {
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return rebalance.Status{
		Pod: "hello-7d4b9c6f5-abcde", Uptime: "3h12m4s", Connections: 112, Draining: 4, Streams: 31,
		Opened: 503, Keys: 40, Generation: 3, Source: "kubernetes shop/hello",
		Peers: []rebalance.PeerStatus{
			{Pod: "hello-7d4b9c6f5-abcde", Address: "10.1.0.11", Ready: true, Connections: 112, Self: true},
			{Pod: "hello-7d4b9c6f5-fghij", Address: "10.1.0.12", Ready: true, Connections: 97},
			{Pod: "hello-7d4b9c6f5-klmno", Address: "10.1.2.7", Ready: true, Connections: 104},
			{Pod: "hello-7d4b9c6f5-pqrst", Address: "10.1.3.2", Ready: true, Connections: 41},
			{Pod: "hello-7d4b9c6f5-uvwxy", Address: "10.1.3.9", Error: "timeout after 1s"},
		},
		Weight: "connections", Load: 108, MeanLoad: 87.5, Band: rebalance.Band{Over: 97, Under: 61.25}, Share: 2, Warm: 0.5,
		GoAways:    map[string]uint64{"reach": 40, "even": 12, "shutdown": 0},
		Closed:     map[string]uint64{"clean": 48, "client": 391, "forced": 1},
		PeerErrors: map[string]uint64{"timeout": 7},
		Verdict:    rebalance.Moving,
		Conditions: []rebalance.Condition{
			{Code: "untracked", Severity: rebalance.Error, Since: since, Text: "RPCs arrive on connections that are not tracked."},
			{Code: "peer-unreachable", Severity: rebalance.Warning, Since: since, Text: "hello-7d4b9c6f5-uvwxy does not answer on port 8080."},
			{Code: "dns-behind", Severity: rebalance.Info, Since: since, Text: "DNS does not list all pods yet."},
		},
		Tracked: 503, Plans: 2300, PlanSeconds: 0.31, Ready: true,
	}
}
