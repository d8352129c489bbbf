package health

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

func newBalancer(t *testing.T) *rebalance.Balancer {
	t.Helper()
	bal, err := rebalance.New(config.Default(), rebalance.WithSelf("pod-a", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return bal
}

// serveBare serves the health service of bal on a server without evenkeel's credentials.
func serveBare(t *testing.T, bal *rebalance.Balancer) (srv *grpc.Server, r rig, end func()) {
	t.Helper()
	ln := bufconn.Listen(1 << 16)
	srv = grpc.NewServer()
	r.statuses = Register(srv, bal)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	client, hangUp := dialHealth(t, ln)
	r.client = client
	return srv, r, func() {
		hangUp()
		srv.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

// One Check reveals a server whose connections are not tracked, at every path that a person
// may read. The pod stays ready.
func TestUntrackedServerIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bal := newBalancer(t)
		_, r, end := serveBare(t, bal)
		defer end()
		h := handler(t, sourceOf(bal))
		if body := get(t, h, "/readyz?verbose").Body.String(); strings.Contains(body, "untracked") {
			t.Errorf("/readyz?verbose shows untracked before any call:\n%s", body)
		}
		r.check(t, "", serving)
		w := get(t, h, "/readyz?verbose")
		if w.Code != 200 || !strings.Contains(w.Body.String(), "\n[-]untracked error: ") || !strings.Contains(w.Body.String(), "serveropts.Options(bal, creds)") {
			t.Errorf("/readyz?verbose: got %d\n%s", w.Code, w.Body)
		}
		for path, want := range map[string]string{"/statusz": `"code": "untracked"`, "/": "<code>untracked</code>"} {
			if !strings.Contains(get(t, h, path).Body.String(), want) {
				t.Errorf("%s does not contain %q", path, want)
			}
		}
	})
}

func TestShutdownOfARealBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bal := newBalancer(t)
		srv, r, end := serveBare(t, bal)
		defer end()
		h := handler(t, sourceOf(bal))
		stream, cancel := r.watch(t, "")
		defer cancel()
		wantNext(t, stream, serving)
		wantBody(t, get(t, h, "/readyz"), 200, "ok")
		done := make(chan error, 1)
		go func() { done <- bal.Shutdown(context.WithoutCancel(t.Context()), srv) }()
		wantNext(t, stream, notServing)
		if w := get(t, h, "/readyz"); w.Code != 503 {
			t.Errorf("/readyz while stopping: got %d, want 503", w.Code)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// A Balancer that has not run yet answers at every path.
func TestHandlerOfARealBalancer(t *testing.T) {
	bal := newBalancer(t)
	h := Handler(bal, WithLogger(nil), WithMetrics(stubMetrics))
	for _, path := range paths {
		if w := get(t, h, path); w.Code != 200 {
			t.Errorf("%s: got %d, want 200\n%s", path, w.Code, w.Body)
		}
	}
}

// conditionText returns the text of a condition of bal, "" if it does not show.
func conditionText(bal *rebalance.Balancer, code string) string {
	all := bal.Status().Conditions
	if i := slices.IndexFunc(all, func(c rebalance.Condition) bool { return c.Code == code }); i >= 0 {
		return all[i].Text
	}
	return ""
}

// The error of a port in use is not lost if ListenAndServe's caller drops it. It ends once
// the endpoint serves.
func TestPortInUseShowsUntilItServes(t *testing.T) {
	bal := newBalancer(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := ListenAndServe(t.Context(), taken.Addr().String(), bal); err == nil {
		t.Fatal("ListenAndServe on a port in use: got no error")
	}
	text := conditionText(bal, "health-port")
	if !strings.Contains(text, taken.Addr().String()) || !strings.Contains(text, "address already in use") {
		t.Errorf("condition health-port: got %q, want the address and the cause", text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ListenAndServe(ctx, "127.0.0.1:0", bal) }()
	for end := time.Now().Add(10 * time.Second); conditionText(bal, "health-port") != ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the condition health-port stays although the endpoint serves")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ListenAndServe: %v", err)
	}
	if text := conditionText(bal, "health-port"); text != "" {
		t.Errorf("condition health-port after an orderly end: got %q, want none", text)
	}
}

// An endpoint that fails while it serves shows the condition, too.
func TestBrokenListenerShows(t *testing.T) {
	bal := newBalancer(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := Serve(t.Context(), ln, bal); err == nil {
		t.Error("Serve on a closed listener: got no error")
	}
	if text := conditionText(bal, "health-port"); !strings.Contains(text, "use of closed network connection") {
		t.Errorf("condition health-port: got %q, want the cause", text)
	}
}
