package health

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// stubMetrics stands for the handler of package metrics, which is another module.
var stubMetrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "metrics\n")
})

func handler(t testing.TB, src source) http.Handler {
	t.Helper()
	return newHandler(src, newOptions([]Option{WithMetrics(stubMetrics)}))
}

func get(t testing.TB, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	return request(t, h, http.MethodGet, path)
}

func request(t testing.TB, h http.Handler, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "http://10.1.0.11:8080"+path, nil))
	return w
}

func wantBody(t *testing.T, w *httptest.ResponseRecorder, code int, body string) {
	t.Helper()
	if w.Code != code || w.Body.String() != body {
		t.Errorf("got %d\n%s\nwant %d\n%s", w.Code, w.Body, code, body)
	}
}

var paths = []string{"/livez", "/readyz", "/readyz?verbose", "/metrics", "/statusz", "/statusz?text", "/peerz", "/", "/?pause"}

func TestEveryPathAnswers(t *testing.T) {
	h := handler(t, newFake(sampleStatus(epoch)))
	for _, path := range paths {
		if w := get(t, h, path); w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("GET %s: got %d with %d bytes, want 200 with a body", path, w.Code, w.Body.Len())
		}
	}
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	h := handler(t, newFake(sampleStatus(epoch)))
	for _, path := range []string{"/nothing", "/livez/", "/index.html", "/debug/pprof/", "/debug/vars", "/metrics/x"} {
		if w := get(t, h, path); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: got %d, want 404", path, w.Code)
		}
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	h := handler(t, newFake(sampleStatus(epoch)))
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"} {
		for _, path := range paths {
			w := request(t, h, method, path)
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
				t.Errorf("%s %s: got %d and Allow %q, want 405", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

func TestEveryAnswerHasSecurityHeaders(t *testing.T) {
	h := handler(t, newFake(sampleStatus(epoch)))
	for _, path := range append([]string{"/nothing"}, paths...) {
		hdr := get(t, h, path).Header()
		if hdr.Get("Content-Type") == "" {
			t.Errorf("%s: no Content-Type", path)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff",
			"X-Frame-Options":        "DENY",
			"Referrer-Policy":        "no-referrer",
			"Cache-Control":          "no-store",
		} {
			// Only browsers understand these, and pods read /peerz often.
			if path == "/peerz" && (name == "X-Frame-Options" || name == "Referrer-Policy") {
				want = ""
			}
			if got := hdr.Get(name); got != want {
				t.Errorf("%s: got %s %q, want %q", path, name, got, want)
			}
		}
		policy := hdr.Get("Content-Security-Policy")
		if path == "/peerz" && policy == "" {
			continue
		}
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: got the policy %q, want default-src 'none' and no scripts", path, policy)
		}
	}
}

// Without WithMetrics, /metrics answers with what to do.
func TestMetricsNeedAHandler(t *testing.T) {
	for name, opts := range map[string][]Option{"default": nil, "nil": {WithMetrics(nil)}} {
		w := get(t, newHandler(newFake(sampleStatus(epoch)), newOptions(opts)), "/metrics")
		if w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "health.WithMetrics(metrics.Handler(bal))") {
			t.Errorf("%s: got %d %q, want 501 and the cure", name, w.Code, w.Body)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: the answer lacks the security headers", name)
		}
	}
}

func TestHandlerWithPort(t *testing.T) {
	src := newFake(sampleStatus(epoch))
	src.SetHealthPort(7)
	for _, tc := range []struct {
		opts []Option
		want int64
	}{
		{nil, 7}, // unknown: as it was
		{[]Option{WithPort(8080)}, 8080},
	} {
		if _, err := handlerWithPort(src, newOptions(tc.opts)); err != nil {
			t.Fatal(err)
		}
		if got := src.port.Load(); got != tc.want {
			t.Errorf("got port %d, want %d", got, tc.want)
		}
	}
}

func TestHandlerPanicsOnABadPort(t *testing.T) {
	for _, port := range []int{-1, 65536} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), "WithPort") {
					t.Errorf("WithPort(%d): got panic %v, want an error that names the option", port, err)
				}
			}()
			Handler(newBalancer(t), WithPort(port))
		}()
	}
}

func TestWithLoggerNilKeepsTheDefault(t *testing.T) {
	if got := newOptions([]Option{WithLogger(nil)}).logger; got != slog.Default() {
		t.Errorf("got %v, want slog.Default()", got)
	}
}

func TestLivezDependsOnNothing(t *testing.T) {
	src := newFake(rebalance.Status{Verdict: rebalance.Stale})
	h := handler(t, src)
	wantBody(t, get(t, h, "/livez"), 200, "ok")
	src.stop()
	wantBody(t, get(t, h, "/livez"), 200, "ok")
}

func TestReadyz(t *testing.T) {
	src := newFake(sampleStatus(epoch))
	h := handler(t, src)
	wantBody(t, get(t, h, "/readyz"), 200, "ok")
	wantBody(t, get(t, h, "/readyz?verbose"), 200, `[+]serving ok
[+]balance moving: 12 of 112 connections are moving to 2 new pods; the pods' reports are read again in 30 s.
[-]untracked error: RPCs arrive on connections that are not tracked: another grpc.Creds replaced those of serveropts.Options. Pass your credentials to serveropts.Options(bal, creds) and remove your own grpc.Creds option.
[-]peer-unreachable warning: hello-7d4b9c6f5-uvwxy does not answer on port 8080. Check that a NetworkPolicy lets pods of the Service reach each other there.
[+]dns-behind info: DNS does not list all pods yet.
readyz check passed
`)
}

func TestReadyzOfAStoppingPodGivesTheReason(t *testing.T) {
	src := newFake(rebalance.Status{Connections: 7, Verdict: rebalance.Balanced})
	h := handler(t, src)
	src.stop()
	for _, path := range []string{"/readyz", "/readyz?verbose"} {
		wantBody(t, get(t, h, path), 503, "[-]serving failed: stopping, 7 connections still open\n[+]balance balanced\nreadyz check failed\n")
	}
}

// No verdict and no condition takes a pod out of its Service.
func TestReadyzDoesNotDependOnTheBalance(t *testing.T) {
	for _, v := range append(rebalance.Verdicts(), "") {
		st := sampleStatus(epoch)
		st.Verdict = v
		w := get(t, handler(t, newFake(st)), "/readyz?verbose")
		if w.Code != http.StatusOK {
			t.Errorf("verdict %q: got %d, want 200", v, w.Code)
		}
		bad := strings.Contains(w.Body.String(), "[-]balance")
		if want := v == rebalance.Stale || v == rebalance.Unbalanceable || v == rebalance.Overloaded; bad != want {
			t.Errorf("verdict %q shows as bad: got %v, want %v", v, bad, want)
		}
	}
}

// All paths answer at once while the Status changes and the pod stops. The race detector
// checks the rest.
func TestConcurrentRequests(t *testing.T) {
	src := newFake(sampleStatus(epoch))
	srv := httptest.NewServer(handler(t, src))
	defer srv.Close()
	client := srv.Client()
	var wg sync.WaitGroup
	for _, path := range append([]string{"/livez"}, paths...) {
		wg.Go(func() {
			for range 20 {
				fetch(t, client, srv.URL+path)
			}
		})
	}
	for i := range 50 {
		st := sampleStatus(epoch)
		st.Connections = i
		src.set(st)
	}
	src.stop()
	wg.Wait()
	client.CloseIdleConnections()
}

func fetch(t *testing.T, client *http.Client, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return
	}
	res, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Error(err)
	}
	if res.StatusCode >= 500 && !strings.Contains(url, "readyz") {
		t.Errorf("%s: %s", url, res.Status)
	}
}

// Checks of the program's own decide readiness and have a line each, whatever their texts hold.
func TestOwnChecks(t *testing.T) {
	var broken error
	h := newHandler(newFake(rebalance.Status{Verdict: rebalance.Balanced}), newOptions([]Option{
		WithCheck("upstream", func() error { return broken }), WithCheck("other", func() error { return nil }),
	}))
	wantBody(t, get(t, h, "/readyz"), 200, "ok")
	wantBody(t, get(t, h, "/readyz?verbose"), 200, "[+]serving ok\n[+]upstream ok\n[+]other ok\n[+]balance balanced\nreadyz check passed\n")
	broken = errors.New("refused\n[+]serving ok")
	for _, path := range []string{"/readyz", "/readyz?verbose"} {
		wantBody(t, get(t, h, path), 503, "[+]serving ok\n[-]upstream failed: refused [+]serving ok\n[+]other ok\n[+]balance balanced\nreadyz check failed\n")
	}
	wantBody(t, get(t, h, "/livez"), 200, "ok")
}

func TestChecksAreValidated(t *testing.T) {
	for _, opt := range []Option{WithCheck("", func() error { return nil }), WithCheck("upstream", nil)} {
		if _, err := handlerWithPort(newFake(rebalance.Status{}), newOptions([]Option{opt})); err == nil || !strings.Contains(err.Error(), "WithCheck") {
			t.Errorf("got error %v, want one that names the option", err)
		}
	}
}
