package kube

import (
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/peers"
)

// inPod returns a function that gives a Source the environment of a pod in the server's
// cluster.
func inPod(t *testing.T, a *apiServer, files, vars map[string]string) (dir string, adjust func(*Source)) {
	dir = t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	write(t, dir, "ca.crt", string(ca))
	for name, text := range files {
		write(t, dir, name, text)
	}
	host, port, _ := net.SplitHostPort(a.Listener.Addr().String())
	return dir, func(s *Source) {
		s.opts.Kubeconfig = ""
		s.env.account = dir
		s.env.get = func(k string) string {
			return map[string]string{
				"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "POD_NAMESPACE": vars["POD_NAMESPACE"],
			}[k]
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The fake server knows only the namespace shop.
func TestInAPod(t *testing.T) {
	for name, tc := range map[string]struct{ files, vars map[string]string }{
		"namespace of the account":      {files: map[string]string{"token": "good", "namespace": "shop\n"}},
		"POD_NAMESPACE":                 {files: map[string]string{"token": "good"}, vars: map[string]string{"POD_NAMESPACE": "shop"}},
		"the account's namespace first": {map[string]string{"token": "good", "namespace": "shop"}, map[string]string{"POD_NAMESPACE": "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTLSServer(t)
			a.token = "good"
			a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
			_, adjust := inPod(t, a, tc.files, tc.vars)
			watchWith(t, "http://unused", adjust).untilPods(1)
		})
	}
}

func TestMissingNamespaceIsReported(t *testing.T) {
	a := newTLSServer(t)
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
	dir, adjust := inPod(t, a, map[string]string{"token": "good"}, nil)
	w := watchWith(t, "http://unused", adjust)
	w.untilErr("peers.kubernetes.namespace", "$POD_NAMESPACE")
	write(t, dir, "namespace", "shop")
	w.untilPods(1)
}

// client-go keeps a token for a minute, but a refused one must be read again at once.
func TestRefusedTokenIsReadAgain(t *testing.T) {
	a := newTLSServer(t)
	a.token = "new"
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
	dir, adjust := inPod(t, a, map[string]string{"token": "old", "namespace": "shop"}, nil)
	w := watchWith(t, "http://unused", adjust)
	w.untilErr("401")
	write(t, dir, "token", "new")
	w.untilPods(1)
}

func TestUnknownCA(t *testing.T) {
	a := newTLSServer(t)
	w := watchWith(t, a.URL, nil) // a kubeconfig without a CA
	w.untilErr(a.Listener.Addr().String(), "presents a certificate that cannot be verified", "unknown authority",
		"check the CA of the service account or the kubeconfig")
}

func TestClientName(t *testing.T) {
	for name, tc := range map[string]struct{ conf, want string }{
		"of a pod":     {"nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", "hello.shop.svc.cluster.local."},
		"with a dot":   {"search shop.svc.k8s.example. svc.k8s.example. k8s.example.\n", "hello.shop.svc.k8s.example."},
		"no domain":    {"nameserver 127.0.0.1\nsearch example.com\n", "hello.shop.svc"},
		"no search":    {"nameserver 127.0.0.1\n", "hello.shop.svc"},
		"a comment":    {"# search svc.cluster.local\n", "hello.shop.svc"},
		"not the last": {"search example.com svc.a.b\nnameserver 127.0.0.1", "hello.shop.svc.a.b."},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "resolv.conf", tc.conf)
			s := &Source{opts: Options{Service: "hello"}, env: env{resolvConf: filepath.Join(dir, "resolv.conf")}}
			if got := s.clientName("shop"); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if got := (&Source{opts: Options{Service: "hello"}}).clientName("shop"); got != "hello.shop.svc" {
		t.Errorf("without resolv.conf, the name is %q, want hello.shop.svc", got)
	}
}

// lines is a slog.Handler that records the level and the attributes of each line.
type lines struct {
	mu  sync.Mutex
	got []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := r.Level.String()
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.got = append(l.got, text)
	return nil
}

// A failure or a view that repeats must not be logged again.
func TestOneLineForEachChange(t *testing.T) {
	a := newAPIServer(t)
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
	a.set(verbList, 500)
	log := &lines{}
	w := watchWith(t, a.URL, func(s *Source) {
		s.opts.Logger = slog.New(log)
		s.pace.silent = time.Minute // a busy machine must not cause a change
	})
	for range 5 {
		w.untilErr("answers 500")
	}
	a.set(verbList, 0)
	for range 5 {
		w.untilPods(1)
	}
	a.put(sliceOf("two", "IPv4", pod("b", "10.0.0.2")))
	w.untilPods(2)
	log.mu.Lock()
	defer log.mu.Unlock()
	want := []string{`WARN error=cannot list EndpointSlices in namespace "shop": the API server answers 500`, "INFO pods=1", "INFO pods=2"}
	if !slices.EqualFunc(log.got, want, strings.HasPrefix) {
		t.Errorf("logged %q, want %q", log.got, want)
	}
}

func TestServerThatHangs(t *testing.T) {
	for _, verb := range []string{verbList, verbWatch} {
		for scheme, serve := range map[string]func(*testing.T) *apiServer{"http/1.1": newAPIServer, "http/2": newTLSServer} {
			t.Run(verb+" over "+scheme, func(t *testing.T) {
				a := serve(t)
				a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
				a.set(verb, hang)
				w := watchWith(t, a.URL, func(s *Source) {
					s.pace.silent = 200 * time.Millisecond // and gives up after twice that
					if a.TLS != nil {
						_, adjust := inPod(t, a, map[string]string{"token": "t", "namespace": "shop"}, nil)
						adjust(s)
					}
				})
				w.untilErr("accepts the connection but does not answer")
				w.untilErr("does not answer in time")
				a.set(verb, 0)
				a.nextWatch(t)
				w.untilPods(1)
			})
		}
	}
}

func TestSlicesOfNamesAreNotUsed(t *testing.T) {
	a := newAPIServer(t)
	names := pod("a", "a.example.com")
	a.put(sliceOf("one", "FQDN", names))
	w := watchWith(t, a.URL, nil)
	w.untilErr(`Service "hello"`, "addressType FQDN")
	a.put(sliceOf("two", "IPv4", pod("b", "10.0.0.2")))
	if m := w.untilPods(1); text(m.Members) != "b [10.0.0.2]" {
		t.Error(text(m.Members))
	}
}

// After a bookmark, the next watch must start there, and need no list.
func TestBookmarks(t *testing.T) {
	a := newAPIServer(t)
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1")))
	w := watchWith(t, a.URL, func(s *Source) { s.pace.silent = time.Minute })
	w.untilPods(1)
	if q := a.nextWatch(t); q.Get("allowWatchBookmarks") != "true" || q.Get("resourceVersion") != "11" {
		t.Errorf("the first watch has the query %v", q)
	}
	a.say(`{"type":"BOOKMARK","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"500"}}}`)
	a.say("")
	if q := a.nextWatch(t); q.Get("resourceVersion") != "500" {
		t.Errorf("the next watch has the query %v, want resource version 500", q)
	}
	for range 3 {
		w.untilPods(1)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lists != 1 {
		t.Errorf("%d lists, want 1", a.lists)
	}
}

// The Reflector lists in a goroutine, and does not wait for it once the context ends. Run
// must wait for it, or the two would race.
func TestRunWaitsForItsList(t *testing.T) {
	s, err := New(Options{Service: "hello", Kubeconfig: kubeconfig(t, closedPort(t))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	listed := make(chan struct{}) // closed once the list goes on after the end of the context
	var once sync.Once
	s.env = env{account: t.TempDir(), get: func(string) string {
		once.Do(func() {
			defer close(listed)
			cancel()
			select {
			case err := <-done:
				t.Errorf("Run returned %v during a list", err)
				done <- err
			case <-time.After(200 * time.Millisecond):
			}
		})
		return ""
	}}
	go func() { done <- s.Run(ctx, func(peers.Membership) {}) }()
	select {
	case <-listed:
	case <-time.After(10 * time.Second):
		t.Fatal("no list was requested")
	}
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Run did not return")
	}
}
