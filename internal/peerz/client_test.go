package peerz

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// peer starts the health endpoint of a pod, until the test ends.
func peer(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// client returns a Client whose connections are closed when the test ends.
func client(t *testing.T, timeout time.Duration) *Client {
	t.Helper()
	c := &Client{Timeout: timeout}
	t.Cleanup(c.Close)
	return c
}

// long is longer than any test takes: the timeout of tests that must not depend on time.
const long = time.Minute

func TestAsk(t *testing.T) {
	keys := hashes(3)
	addr := peer(t, Handler(func(requested []string) Report {
		rep := good
		rep.Keys = map[string]int{}
		for i, key := range requested[:2] {
			rep.Keys[key] = i + 1
		}
		return rep
	}))
	var c Client // its zero value works
	defer c.Close()
	got, err := c.Ask(t.Context(), addr, keys)
	want := good
	want.Keys = map[string]int{keys[0]: 1, keys[1]: 2}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestManyKeysTakeSeveralRequests(t *testing.T) {
	keys := hashes(2*MaxKeys + 1)
	var requests atomic.Int32
	addr := peer(t, Handler(func(requested []string) Report {
		requests.Add(1)
		rep := good
		rep.Connections += len(requested)
		rep.Keys = map[string]int{}
		for _, key := range requested {
			rep.Keys[key] = 1
		}
		return rep
	}))
	got, err := client(t, long).Ask(t.Context(), addr, keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Keys) != len(keys) || requests.Load() != 3 {
		t.Errorf("got %d of %d keys by %d requests, want all by 3", len(got.Keys), len(keys), requests.Load())
	}
	if got.Connections != good.Connections+1 {
		t.Errorf("got %d connections, want those of the last answer: %d", got.Connections, good.Connections+1)
	}
}

// If another pod takes over the address between two requests, their answers must not be
// added up.
func TestAnswersOfTwoPodsAreNotMerged(t *testing.T) {
	var n atomic.Int32
	addr := peer(t, Handler(func([]string) Report {
		rep := good
		rep.Pod = fmt.Sprint("pod-", n.Add(1))
		return rep
	}))
	if _, err := client(t, long).Ask(t.Context(), addr, hashes(MaxKeys+1)); ClassOf(err) != WrongPod {
		t.Errorf("got %v, want %s", err, WrongPod)
	}
}

// jsonHead sets the content type to application/json.
func jsonHead(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/json") }

func goodBody(t *testing.T) []byte {
	t.Helper()
	body, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// These peers misbehave at once, so no result may depend on a timeout.
func TestPeersThatMisbehave(t *testing.T) {
	body := goodBody(t)
	for name, tc := range map[string]struct {
		class string
		peer  http.HandlerFunc
	}{
		"garbage":  {JSON, func(w http.ResponseWriter, _ *http.Request) { jsonHead(w); fmt.Fprint(w, "\x00\xff{") }},
		"a page":   {JSON, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello") }},
		"no type":  {JSON, func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; w.Write(body) }},
		"other":    {Nonsense, func(w http.ResponseWriter, _ *http.Request) { jsonHead(w); fmt.Fprint(w, `{"status":"up"}`) }},
		"404":      {Status, http.NotFound},
		"503":      {Status, func(w http.ResponseWriter, _ *http.Request) { jsonHead(w); w.WriteHeader(503); w.Write(body) }},
		"204":      {Status, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		"redirect": {Status, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		"headers":  {Other, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }},
		"cut off":  {Other, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"half an answer": {Other, func(w http.ResponseWriter, _ *http.Request) {
			jsonHead(w)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:len(body)/2])
		}},
		"encoded": {JSON, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("the request accepts encoding %q, want identity", r.Header.Get("Accept-Encoding"))
			}
			jsonHead(w)
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.CopyN(z, zeros{}, 10<<20)
			z.Close()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			rep, err := client(t, long).Ask(t.Context(), peer(t, tc.peer), nil)
			checkError(t, rep, err, tc.class)
		})
	}
}

func checkError(t *testing.T, rep Report, err error, class string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Class != class || ClassOf(err) != class {
		t.Errorf("got %v (class %s), want class %s", err, ClassOf(err), class)
	}
	if !reflect.DeepEqual(rep, Report{}) {
		t.Errorf("got a report beside the error: %+v", rep)
	}
	if err != nil && (len(err.Error()) > 300 || !strings.Contains(err.Error(), "127.0.0.1")) {
		t.Errorf("the error has %d characters, or does not name the peer: %.300s", len(err.Error()), err)
	}
}

// zeros reads as spaces without end, which JSON allows.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// The client must stop reading long before the peer stops writing.
func TestAHugeAnswerIsNotRead(t *testing.T) {
	const huge = 100 << 20
	sent := make(chan int64, 1)
	addr := peer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		jsonHead(w)
		n, _ := io.CopyN(w, zeros{}, huge)
		sent <- n
	}))
	rep, err := client(t, long).Ask(t.Context(), addr, nil)
	checkError(t, rep, err, Size)
	if n := <-sent; n >= huge {
		t.Errorf("the peer could send %d bytes, want far less", n)
	}
}

// An answer of a newer pod, with unknown fields and the longest keys, must not be too large.
func TestTheLargestAnswerFits(t *testing.T) {
	var keys []string
	counts := make(map[string]int)
	for i := range MaxKeys {
		keys = append(keys, fmt.Sprintf("%064x", i))
		counts[keys[i]] = maxConnections
	}
	addr := peer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		jsonHead(w)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"pod": strings.Repeat("x", maxPodLen), "ready": true, "uptimeMillis": 1, "connections": 1,
			"keys": counts, "new": strings.Repeat("y", 60<<10),
		})
	}))
	got, err := client(t, long).Ask(t.Context(), addr, keys)
	if err != nil || !reflect.DeepEqual(got.Keys, counts) {
		t.Errorf("got %d keys, %v, want %d", len(got.Keys), err, len(counts))
	}
}

// hanging returns a handler that calls head and then hangs until the test ends.
func hanging(t *testing.T, head func(http.ResponseWriter)) http.HandlerFunc {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(over) }))
	return func(w http.ResponseWriter, r *http.Request) {
		head(w)
		w.(http.Flusher).Flush()
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}
}

func TestPeersThatHang(t *testing.T) {
	body := goodBody(t)
	silent := silentListener(t)
	for name, addr := range map[string]string{
		"before the answer": silent,
		"after the head":    hangingPeer(t, func(w http.ResponseWriter) { jsonHead(w) }),
		"in the middle":     hangingPeer(t, func(w http.ResponseWriter) { jsonHead(w); w.Write(body[:20]) }),
		"after the answer":  hangingPeer(t, func(w http.ResponseWriter) { jsonHead(w); w.Write(body) }),
	} {
		t.Run(name, func(t *testing.T) {
			rep, err := client(t, 50*time.Millisecond).Ask(t.Context(), addr, nil)
			checkError(t, rep, err, Timeout)

			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			rep, err = client(t, long).Ask(ctx, addr, nil)
			checkError(t, rep, err, Timeout)

			ctx, cancel = context.WithCancel(t.Context())
			cancel()
			rep, err = client(t, long).Ask(ctx, addr, nil)
			checkError(t, rep, err, Other)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
		})
	}
}

func hangingPeer(t *testing.T, head func(http.ResponseWriter)) string {
	t.Helper()
	s := httptest.NewServer(hanging(t, head))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String()
}

// silentListener returns an address where the kernel accepts connections and nobody answers.
func silentListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestRefusedConnection(t *testing.T) {
	rep, err := client(t, long).Ask(t.Context(), closedPort(t), nil)
	checkError(t, rep, err, Refused)
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var followed atomic.Bool
	target := peer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	addr := peer(t, http.RedirectHandler("http://"+target+Path, http.StatusTemporaryRedirect))
	_, err := client(t, long).Ask(t.Context(), addr, nil)
	if ClassOf(err) != Status || followed.Load() {
		t.Errorf("got %v (redirect followed: %v), want class %s", err, followed.Load(), Status)
	}
}

func TestTheProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("NO_PROXY", "")
	c := client(t, long)
	c.client()
	if c.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("the transport has a proxy")
	}
}

func TestInvalidRequests(t *testing.T) {
	c := client(t, long)
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:80/x", "u@127.0.0.1:80", "127.0.0.1:80?x", "::1:80", "127.0.0.1:80#"} {
		if _, err := c.Ask(t.Context(), addr, nil); ClassOf(err) != Other {
			t.Errorf("address %q: got %v, want an error of class %s", addr, err, Other)
		}
	}
	for _, key := range []string{"", "10.0.0.1", "AB", strings.Repeat("a", MaxKeyLen+1), "a&b=c"} {
		if _, err := c.Ask(t.Context(), "127.0.0.1:1", []string{"ab", key}); ClassOf(err) != Other {
			t.Errorf("key %q: got %v, want an error of class %s", key, err, Other)
		}
	}
}

func TestIPv6Addresses(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6 loopback:", err)
	}
	s := httptest.NewUnstartedServer(Handler(func([]string) Report { return good }))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	for _, addr := range []netip.AddrPort{at, netip.AddrPortFrom(at.Addr().WithZone("lo"), at.Port())} {
		if _, err := client(t, long).Ask(t.Context(), addr.String(), nil); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
