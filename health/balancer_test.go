package health

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

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

// serveBare serves the health service of bal on a server that was made without
// evenkeel's credentials.
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

// One Check is enough to give away a server whose connections are not tracked,
// everywhere a person may look, and the pod stays ready.
func TestUntrackedServerIsGivenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bal := newBalancer(t)
		_, r, end := serveBare(t, bal)
		defer end()
		h := handler(t, sourceOf(bal))
		if body := get(t, h, "/readyz?verbose").Body.String(); strings.Contains(body, "untracked") {
			t.Errorf("untracked before any call:\n%s", body)
		}
		r.check(t, "", serving)
		w := get(t, h, "/readyz?verbose")
		if w.Code != 200 || !strings.Contains(w.Body.String(), "\n[-]untracked error: ") || !strings.Contains(w.Body.String(), "serveropts.Options(bal, creds)") {
			t.Errorf("/readyz?verbose: %d\n%s", w.Code, w.Body)
		}
		for path, want := range map[string]string{
			"/metrics": "\nevenkeel_rpcs_untracked_total 1\n", "/statusz": `"code": "untracked"`, "/": "<code>untracked</code>",
		} {
			if !strings.Contains(get(t, h, path).Body.String(), want) {
				t.Errorf("%s does not have %q", path, want)
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
			t.Errorf("/readyz while stopping: %d", w.Code)
		}
		cancel() // as clients do that are told to leave
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// All that can be asked of a Balancer that has not even run yet.
func TestHandlerOfARealBalancer(t *testing.T) {
	bal := newBalancer(t)
	h := Handler(bal, WithLogger(nil))
	for _, path := range paths {
		if w := get(t, h, path); w.Code != 200 {
			t.Errorf("%s: %d\n%s", path, w.Code, w.Body)
		}
	}
}
