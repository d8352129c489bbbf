package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-go/evenkeel/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// apiServer speaks list and watch over HTTP, in JSON.
type apiServer struct {
	*httptest.Server

	mu      sync.Mutex
	slices  map[string]*discovery.EndpointSlice
	version int
	fail    map[string]int // verb: status
	conns   map[chan string]bool
	lists   int
	watches int
	opened  chan url.Values // the query of each open watch
	token   string          // the token that is required; empty: none
}

// With these codes the server never answers a request, or closes the connection.
const hang, cut = -1, -2

func newAPIServer(t *testing.T) *apiServer {
	a := unstarted(t)
	a.Start()
	return a
}

func newTLSServer(t *testing.T) *apiServer {
	a := unstarted(t)
	a.EnableHTTP2 = true
	a.StartTLS()
	return a
}

func unstarted(t *testing.T) *apiServer {
	a := &apiServer{
		slices: map[string]*discovery.EndpointSlice{}, version: 10, fail: map[string]int{}, conns: map[chan string]bool{},
		opened: make(chan url.Values, 1000),
	}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

func (a *apiServer) serve(rw http.ResponseWriter, r *http.Request) {
	verb := verbList
	if r.URL.Query().Has("watch") {
		verb = verbWatch
	}
	a.mu.Lock()
	if verb == verbList {
		a.lists++
	} else {
		a.watches++
	}
	code := a.fail[verb]
	if a.token != "" && r.Header.Get("Authorization") != "Bearer "+a.token {
		code = http.StatusUnauthorized
	}
	want := "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
	if r.URL.Path != want || r.URL.Query().Get("labelSelector") != "kubernetes.io/service-name=hello" {
		code = http.StatusNotFound
	}
	if code < 0 {
		a.mu.Unlock()
		if code == hang {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	if code != 0 {
		a.mu.Unlock()
		status(rw, code, verb)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	if verb == verbList {
		defer a.mu.Unlock()
		_ = json.NewEncoder(rw).Encode(a.listLocked())
		return
	}
	events := make(chan string, 100)
	a.conns[events] = true
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	for _, s := range a.slices {
		if v, _ := strconv.Atoi(s.ResourceVersion); v > from {
			data, _ := json.Marshal(map[string]any{"type": "ADDED", "object": s})
			events <- string(data)
		}
	}
	a.mu.Unlock()
	select {
	case a.opened <- r.URL.Query():
	default:
	}
	a.stream(rw, r, events)
}

// nextWatch waits for a watch and returns its query.
func (a *apiServer) nextWatch(t *testing.T) url.Values {
	t.Helper()
	select {
	case q := <-a.opened:
		return q
	case <-time.After(20 * time.Second):
		t.Fatal("no watch was opened within 20 s")
		return nil
	}
}

func (a *apiServer) stream(rw http.ResponseWriter, r *http.Request, events chan string) {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.conns, events)
	}()
	_ = http.NewResponseController(rw).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			if e == "" {
				return
			}
			_, _ = fmt.Fprintln(rw, e)
			_ = http.NewResponseController(rw).Flush()
		}
	}
}

func status(rw http.ResponseWriter, code int, verb string) {
	reasons := map[int]metav1.StatusReason{
		401: metav1.StatusReasonUnauthorized, 403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound,
		410: metav1.StatusReasonExpired, 500: metav1.StatusReasonInternalError,
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	_ = json.NewEncoder(rw).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reasons[code],
		Message: fmt.Sprintf("User %q cannot %s it", "system:serviceaccount:shop:web", verb),
	})
}

func (a *apiServer) listLocked() *discovery.EndpointSliceList {
	l := &discovery.EndpointSliceList{
		TypeMeta: metav1.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"},
		ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(a.version)},
	}
	for _, s := range a.slices {
		l.Items = append(l.Items, *s)
	}
	return l
}

// put adds or changes a slice, and sends the change to the watches.
func (a *apiServer) put(s *discovery.EndpointSlice) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kind := "ADDED"
	if a.slices[s.Name] != nil {
		kind = "MODIFIED"
	}
	a.version++
	s.ResourceVersion = fmt.Sprint(a.version)
	a.slices[s.Name] = s
	a.sayLocked(kind, s)
}

func (a *apiServer) sayLocked(kind string, obj any) {
	data, _ := json.Marshal(map[string]any{"type": kind, "object": obj})
	for c := range a.conns {
		c <- string(data)
	}
}

// say sends raw text on each open watch. Empty text ends the watches.
func (a *apiServer) say(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		c <- text
	}
}

func (a *apiServer) set(verb string, code int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail[verb] = code
}

func sliceOf(name string, family discovery.AddressType, eps ...discovery.Endpoint) *discovery.EndpointSlice {
	return &discovery.EndpointSlice{
		TypeMeta: metav1.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "shop", Labels: map[string]string{discovery.LabelServiceName: "hello", headlessLabel: ""},
		},
		AddressType: family, Endpoints: eps,
	}
}

// watched is a Source that runs against the server at a fast pace.
type watched struct {
	t     *testing.T
	views chan peers.Membership
}

func kubeconfig(t *testing.T, url string) string {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: %q}}],
contexts: [{name: c, context: {cluster: c, user: u, namespace: shop}}], users: [{name: u, user: {token: t}}]}`, url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func watchWith(t *testing.T, url string, adjust func(*Source)) *watched {
	t.Helper()
	s, err := New(Options{Service: "hello", Kubeconfig: kubeconfig(t, url)})
	if err != nil {
		t.Fatal(err)
	}
	s.env = env{get: func(string) string { return "" }, account: t.TempDir(), resolvConf: filepath.Join(t.TempDir(), "none")}
	s.pace = pace{
		first: 10 * time.Millisecond, longest: 50 * time.Millisecond, calm: time.Minute, poll: 50 * time.Millisecond,
		renew: 20 * time.Millisecond, gap: time.Millisecond, list: time.Second, silent: 100 * time.Millisecond,
		rate: 1000,
	}
	if adjust != nil {
		adjust(s)
	}
	w := &watched{t: t, views: make(chan peers.Membership, 10000)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(m peers.Membership) { w.views <- m }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("Run did not return when its context ended")
		}
	})
	return w
}

// until waits for a view for which fits returns true.
func (w *watched) until(what string, fits func(peers.Membership) bool) peers.Membership {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	var last peers.Membership
	for {
		select {
		case last = <-w.views:
			if fits(last) {
				return last
			}
		case <-deadline:
			w.t.Fatalf("no view with %s within 20 s; the last was %+v", what, last)
		}
	}
}

func (w *watched) untilPods(n int) peers.Membership {
	w.t.Helper()
	return w.until(fmt.Sprintf("%d pods", n), func(m peers.Membership) bool { return m.Err == nil && len(m.Members) == n })
}

func (w *watched) untilErr(texts ...string) {
	w.t.Helper()
	w.until(fmt.Sprintf("error %q", texts), func(m peers.Membership) bool {
		if m.Err == nil {
			return false
		}
		for _, s := range texts {
			if !strings.Contains(m.Err.Error(), s) {
				return false
			}
		}
		return true
	})
}

// closedPort returns a URL at which nothing listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}
