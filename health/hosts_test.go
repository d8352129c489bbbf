package health

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A web page that points a name of its own at this pod reads nothing (DNS rebinding). Addresses
// and names that nobody outside can own are served, and those of WithHosts.
func TestHostsAreChecked(t *testing.T) {
	src := newFake(sampleStatus(epoch))
	h := newHandler(src, newOptions([]Option{WithMetrics(stubMetrics), WithHosts("Pods.example.com.")}))
	for host, ok := range map[string]bool{
		"10.0.0.7:8080": true, "127.0.0.1": true, "[::1]:8080": true, "[fe80::1%25eth0]:80": true, "localhost:8080": true, "": true,
		"hello": true, "hello-headless.shop.svc:8080": true, "hello-headless.shop.svc.cluster.local.": true, "node.internal": true,
		"pods.example.com": true, "PODS.EXAMPLE.COM:443": true,
		"evil.example": false, "evil.example:8080": false, "10.0.0.7.evil.example": false, "svc.evil.example": false,
		"localhost.evil.example": false, "example.com": false, "127.0.0.1.nip.io:8080": false,
	} {
		for _, path := range paths {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.Host = host
			h.ServeHTTP(w, r)
			if got := w.Code == http.StatusOK; got != (ok || path == "/livez" || path == "/readyz") {
				t.Errorf("Host %q, %s: got %d", host, path, w.Code)
			}
		}
	}
	all := newOptions([]Option{WithHosts("*")})
	if !all.allows("evil.example") {
		t.Error("WithHosts(*) does not allow all")
	}
}
