package webconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var silent = log.New(io.Discard, "", 0)

// answer is what matters of an answer.
type answer struct {
	status int
	closes bool
}

// ask sends one request and reads the answer.
func ask(t *testing.T, nc net.Conn, r *bufio.Reader, head string) answer {
	t.Helper()
	if _, err := io.WriteString(nc, head+"\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	synctest.Wait() // the server has finished the answer
	return answer{res.StatusCode, res.Close}
}

// A drained connection is closed by the answer to its next request, and by nothing before that.
func TestNextAnswerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trk, l, _ := start(t, &http.Server{Handler: http.HandlerFunc(describe)})
		nc := l.dial()
		defer nc.Close()
		r := bufio.NewReader(nc)
		if res := ask(t, nc, r, "GET / HTTP/1.1"); res.closes {
			t.Fatal("the first answer closes the connection")
		}
		if n := trk.DrainAll(t.Context(), reason.Manual, "test", 0); n != 1 {
			t.Fatalf("drained %d connections, want 1", n)
		}
		time.Sleep(time.Hour)
		if s := trk.Totals(); s.Draining != 1 || s.GoAways[reason.Manual] != 0 || trk.Slow(time.Minute) != 0 || trk.Flight().Streams != 0 {
			t.Errorf("an idle connection after an hour: %+v, %d slow, %+v in flight", s, trk.Slow(time.Minute), trk.Flight())
		}
		res := ask(t, nc, r, "POST / HTTP/1.1")
		if !res.closes || res.status != http.StatusOK {
			t.Errorf("the next answer is %+v, want 200 and the end", res)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("the connection ends with %v, want EOF", err)
		}
		synctest.Wait()
		if s := trk.Totals(); s.Connections != 0 || s.GoAways[reason.Manual] != 1 || s.Closed[h2conn.Clean] != 1 {
			t.Errorf("in the end: %+v", s)
		}
	})
}

// A drain in the middle of a request leaves that request its answer, which may be long.
func TestDrainDuringARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := func(w http.ResponseWriter, r *http.Request) {
			c, _ := conns.FromContext(r.Context())
			if r.URL.Path == "/long" {
				_, _ = io.WriteString(w, "begin ")
				_ = http.NewResponseController(w).Flush()
				c.Drain(reason.Manual, "test", 0)
				<-c.Draining()
				time.Sleep(time.Hour)
				_, _ = io.WriteString(w, "end")
			}
		}
		trk, l, _ := start(t, &http.Server{Handler: http.HandlerFunc(h)})
		nc := l.dial()
		defer nc.Close()
		r := bufio.NewReader(nc)
		if res := ask(t, nc, r, "GET /long HTTP/1.1"); res.closes {
			t.Error("an answer that had begun before the drain closes the connection")
		}
		if res := ask(t, nc, r, "GET / HTTP/1.1"); !res.closes {
			t.Error("the answer after it does not")
		}
		if s := trk.Totals(); s.GoAways[reason.Manual] != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// What a client uses a connection for decides whether it is load.
func TestUse(t *testing.T) {
	for agent, load := range map[string]int{"curl/8": 1, "kube-probe/1.35": 0, "ELB-HealthChecker/2.0": 0, "": 1} {
		synctest.Test(t, func(t *testing.T) {
			trk, l, _ := start(t, &http.Server{Handler: http.HandlerFunc(describe)})
			nc := l.dial()
			defer nc.Close()
			synctest.Wait()
			if n := trk.Totals().Connections; n != 0 {
				t.Errorf("%d connections are listed before a request, want 0", n)
			}
			ask(t, nc, bufio.NewReader(nc), "GET / HTTP/1.1\r\nUser-Agent: "+agent)
			if n := trk.Loads().Connections; n != load || trk.Totals().Connections != 1 {
				t.Errorf("%q: %d of %d connections are load, want %d of 1", agent, n, trk.Totals().Connections, load)
			}
		})
	}
}

// A connection that a handler takes over is one request until it ends. net/http does not wait
// for it, and no header is added to an answer to Upgrade.
func TestHijack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hijacked := make(chan net.Conn, 1)
		h := func(w http.ResponseWriter, r *http.Request) {
			if len(w.Header()) != 0 {
				t.Errorf("the answer to Upgrade has headers: %v", w.Header())
			}
			nc, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
			}
			hijacked <- nc
		}
		trk, l, s := start(t, &http.Server{Handler: http.HandlerFunc(h)})
		nc := l.dial()
		defer nc.Close()
		go func() {
			_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
		}()
		mine := <-hijacked
		synctest.Wait()
		trk.Sample(nil)
		if n := trk.DrainAll(t.Context(), reason.Manual, "test", 0); n != 1 || trk.Flight().Streams != 1 {
			t.Errorf("drained %d, in flight %+v, want 1 and one stream", n, trk.Flight())
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		go func() { _, _ = io.WriteString(mine, "hi") }()
		if _, err := io.ReadFull(nc, make([]byte, 2)); err != nil {
			t.Error(err)
		}
		_ = mine.Close()
		synctest.Wait()
		if n := trk.Totals().Connections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// hooks are a user's hooks, which record what they see.
type hooks struct {
	t      *testing.T
	mu     sync.Mutex
	states map[net.Conn][]http.ConnState
	seen   net.Conn
}

type hookKey struct{}

func (h *hooks) base(l net.Listener) context.Context {
	if _, ok := l.(*pipes); !ok {
		h.t.Errorf("BaseContext gets a %T", l)
	}
	return context.Background()
}

func (h *hooks) conn(ctx context.Context, nc net.Conn) context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = nc
	return context.WithValue(ctx, hookKey{}, "value")
}

func (h *hooks) state(nc net.Conn, state http.ConnState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states[nc] = append(h.states[nc], state)
}

func (h *hooks) handle(_ http.ResponseWriter, r *http.Request) {
	if r.Context().Value(hookKey{}) != "value" {
		h.t.Error("the value of ConnContext is lost")
	}
}

// The user's hooks see the connections and the listener that they would see without evenkeel.
func TestHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hooks{t: t, states: map[net.Conn][]http.ConnState{}}
		_, l, _ := start(t, &http.Server{Handler: http.HandlerFunc(h.handle), BaseContext: h.base, ConnContext: h.conn, ConnState: h.state})
		nc := l.dial()
		ask(t, nc, bufio.NewReader(nc), "GET / HTTP/1.1")
		_ = nc.Close()
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if got := fmt.Sprint(h.states[h.seen]); len(h.states) != 1 || got != "[new active idle closed]" || strings.Contains(fmt.Sprintf("%T", h.seen), "webconn") {
			t.Errorf("ConnContext gets a %T, ConnState %v", h.seen, h.states)
		}
	})
}

// A silent connection can be closed, and one in the middle of its first request cannot.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trk, l, _ := start(t, &http.Server{Handler: http.HandlerFunc(describe)})
		quiet, begun := l.dial(), l.dial()
		defer begun.Close()
		if _, err := io.WriteString(begun, "GET / HT"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := trk.CloseSilent(0); n != 1 {
			t.Errorf("closed %d connections, want 1", n)
		}
		if _, err := quiet.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the silent one ends with %v", err)
		}
		go func() { _, _ = io.WriteString(begun, "TP/1.1\r\nHost: a\r\n\r\n") }()
		if res, err := http.ReadResponse(bufio.NewReader(begun), nil); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("the other one gets %v, %v", res, err)
		} else {
			_ = res.Body.Close()
		}
	})
}

// Files are sent without copying them through the process, and arrive whole.
func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	want := strings.Repeat("0123456789", 100_000)
	if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trk := newTracker()
	s := New(trk, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })})
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	defer func() { _ = s.Close(); <-done }()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != want {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
	}
}

// ALPN offers what the http.Server serves.
func TestNextProtos(t *testing.T) {
	on := func(set ...func(*http.Protocols, bool)) *http.Protocols {
		p := new(http.Protocols)
		for _, f := range set {
			f(p, true)
		}
		return p
	}
	http1, http2 := (*http.Protocols).SetHTTP1, (*http.Protocols).SetHTTP2
	for want, web := range map[string]*http.Server{
		"[h2 http/1.1]":       {},
		"[http/1.1]":          {Protocols: on(http1)},
		"[h2]":                {Protocols: on(http2)},
		"[acme h2 http/1.1]":  {TLSConfig: &tls.Config{NextProtos: []string{"acme"}}},
		"[acme http/1.1]":     {TLSConfig: &tls.Config{NextProtos: []string{"acme", "h2"}}, Protocols: on(http1)},
		"[http/1.1 h2]":       {TLSConfig: &tls.Config{NextProtos: []string{"http/1.1"}}, Protocols: on(http1, http2)},
		"[http/1.1 disabled]": {TLSConfig: &tls.Config{NextProtos: []string{"http/1.1", "disabled"}}, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}},
	} {
		var own []string
		if web.TLSConfig != nil {
			web.TLSConfig.Certificates, own = []tls.Certificate{{}}, web.TLSConfig.NextProtos
		} else {
			web.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{}}}
		}
		cfg, err := New(newTracker(), web).tlsConfig("", "")
		if err != nil || fmt.Sprint(cfg.NextProtos) != want {
			t.Errorf("got %v, %v, want %s (%v)", cfg.NextProtos, err, want, own)
		}
	}
	if _, err := New(newTracker(), &http.Server{}).tlsConfig("none", "none"); err == nil {
		t.Error("no error for files that are not there")
	}
}

// Both of two calls of Shutdown wait for a connection that a handler has taken over, and no longer.
func TestTwoShutdowns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newTracker(), &http.Server{})
		c := &conn{}
		s.take(c)
		ended := make(chan error, 2)
		for range cap(ended) {
			go func() { ended <- s.Shutdown(t.Context()) }()
		}
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("Shutdown did not wait")
		}
		s.end(c)
		synctest.Wait()
		if len(ended) != cap(ended) {
			t.Errorf("%d of %d calls have returned, want all", len(ended), cap(ended))
		}
	})
}
