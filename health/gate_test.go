package health

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// asker sends requests from an address.
func asked(t *testing.T, h http.Handler, from, path string) int {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://10.0.0.1:8080"+path, nil)
	r.RemoteAddr = from + ":40000"
	h.ServeHTTP(w, r)
	if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		t.Errorf("%s: 503 without Retry-After", path)
	}
	return w.Code
}

// slow is a source whose answers take a second.
type slow struct {
	*fake

	most, now int
	mu        sync.Mutex
}

func (s *slow) Report([]string) peerz.Report {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	time.Sleep(time.Second)
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	return peerz.Report{Pod: "a"}
}

// However many strangers query, few are answered at a time, and the others get 503 within
// gateWait. Members of the Service have places of their own. Probes have no gate at all.
func TestQuestionsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &slow{fake: newFake(sampleStatus(epoch))}
		src.members = map[netip.Addr]bool{netip.MustParseAddr("10.0.0.9"): true}
		h := newHandler(src, newOptions(nil))
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for i := range 1500 {
			wg.Go(func() {
				begun := time.Now()
				code := asked(t, h, netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i % 250)}).String(), "/peerz?keys=abc")
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
				if took := time.Since(begun); code == 503 && took > gateWait {
					t.Errorf("503 after %v, want it within %v", took, gateWait)
				}
			})
		}
		time.Sleep(time.Millisecond)
		if code := asked(t, h, "10.0.0.9", "/peerz"); code != 200 {
			t.Errorf("a member gets %d while strangers hammer, want 200", code)
		}
		for _, path := range []string{"/livez", "/readyz"} {
			if code := asked(t, h, "10.1.0.1", path); code != 200 {
				t.Errorf("%s: got %d, want 200", path, code)
			}
		}
		wg.Wait()
		if src.most > strangersAtOnce+1 || codes[200] != strangersAtOnce || codes[503] != 1500-strangersAtOnce {
			t.Errorf("%d at a time, answers %v; want %d at a time, and 503 for the others", src.most, codes, strangersAtOnce)
		}
	})
}

// One address has so many requests at a time, and no more, also one of a member.
func TestOneAskerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &slow{fake: newFake(sampleStatus(epoch))}
		src.members = map[netip.Addr]bool{netip.MustParseAddr("10.0.0.9"): true, netip.MustParseAddr("10.0.0.8"): true}
		h := newHandler(src, newOptions(nil))
		var wg sync.WaitGroup
		begun := time.Now()
		for range 100 {
			wg.Go(func() { asked(t, h, "10.0.0.9", "/peerz") })
		}
		synctest.Wait()
		if code := asked(t, h, "10.0.0.9", "/peerz"); code != 503 || time.Since(begun) > 0 {
			t.Errorf("the 101st: got %d after %v, want 503 at once", code, time.Since(begun))
		}
		wg.Wait()
		if src.most > perAsker {
			t.Errorf("%d at a time for one asker, want %d", src.most, perAsker)
		}
	})
}

// brisk is a source whose answers take a millisecond.
type brisk struct{ *fake }

func (brisk) Report([]string) peerz.Report {
	time.Sleep(time.Millisecond)
	return peerz.Report{Pod: "a"}
}

// Behind a mesh, all pods come from one address, which is no pod's. After a growth all of them
// poll and query a new pod at the same moment.
func TestPeersBehindOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pods = 100
		src := brisk{newFake(sampleStatus(epoch))}
		src.members = map[netip.Addr]bool{}
		for i := range pods {
			src.members[netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)})] = true
		}
		h := newHandler(src, newOptions(nil))
		var wg sync.WaitGroup
		var refused atomic.Int64
		for i := range 2 * pods {
			wg.Go(func() {
				if asked(t, h, "127.0.0.6", []string{"/peerz", "/peerz?keys=abc"}[i%2]) != 200 {
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		if n := refused.Load(); n > 0 {
			t.Errorf("%d of %d polls and queries through a mesh got 503", n, 2*pods)
		}
		time.Sleep(time.Second) // the slots have rested
	})
}

// A slot rests after an answer, so that whoever looks without end costs a fifth of a core.
func TestSlotsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, true)
		busyFor := time.Duration(0)
		h := g.around(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			busyFor += 10 * time.Millisecond
			time.Sleep(10 * time.Millisecond)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			asked(t, h, "10.1.0.1", "/")
		}
		if busyFor > 2100*time.Millisecond || busyFor < 1900*time.Millisecond {
			t.Errorf("busy for %v of 10 s, want a fifth", busyFor)
		}
		time.Sleep(time.Second)
	})
}

// Counting askers leaves nothing behind.
func TestGateForgetsAskers(t *testing.T) {
	g := newGate(1, false)
	h := g.around(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for i := range 300 {
		asked(t, h, netip.AddrFrom4([4]byte{10, 2, byte(i / 250), byte(i % 250)}).String(), "/")
	}
	if len(g.by) != 0 || len(g.slots) != 0 {
		t.Errorf("%d askers and %d slots are left", len(g.by), len(g.slots))
	}
}

// deaf is a client that reads nothing of its answer until it is closed.
type deaf struct {
	http.ResponseWriter

	done chan struct{}
}

func (d deaf) Write(p []byte) (int, error) {
	<-d.done
	return len(p), nil
}

// Clients that do not read their answers hold up nobody but themselves.
func TestDeafClientsHoldNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(sampleStatus(epoch))
		src.members = map[netip.Addr]bool{netip.MustParseAddr("10.0.0.9"): true, netip.MustParseAddr("10.0.0.8"): true}
		h := newHandler(src, newOptions(nil))
		done := make(chan struct{})
		var wg sync.WaitGroup
		for _, from := range []string{"10.0.0.9", "10.1.0.1"} {
			for _, path := range []string{"/", "/peerz"} {
				for range perAsker / 2 {
					wg.Go(func() {
						r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://10.0.0.1:8080"+path, nil)
						r.RemoteAddr = from + ":40000"
						h.ServeHTTP(deaf{httptest.NewRecorder(), done}, r)
					})
				}
			}
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		for from, path := range map[string]string{"10.1.0.2": "/statusz", "10.1.0.3": "/peerz", "10.0.0.8": "/peerz"} {
			if code := asked(t, h, from, path); code != 200 {
				t.Errorf("%s: %s gets %d while others do not read, want 200", path, from, code)
			}
		}
		close(done)
		wg.Wait()
		time.Sleep(time.Second) // the slots have rested
	})
}

// As with net/http, the first status counts, and none after the first byte.
func TestHeldAnswerKeepsItsFirstStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter)
		want   int
	}{
		"two": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound); w.WriteHeader(http.StatusOK) }, http.StatusNotFound},
		"after a byte": {func(w http.ResponseWriter) {
			_, _ = w.Write([]byte("x"))
			w.WriteHeader(http.StatusNotFound)
		}, http.StatusOK},
	} {
		w := httptest.NewRecorder()
		a := held{ResponseWriter: w}
		tc.answer(&a)
		a.send()
		if w.Code != tc.want {
			t.Errorf("%s: got the status %d, want %d", name, w.Code, tc.want)
		}
	}
}
