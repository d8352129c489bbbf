package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

const (
	hammerers    = 300 // at a time, on each pod
	hammererIPs  = 50  // from which they come
	hammeredFor  = 20 * time.Second
	hammerKeys   = 512
	idleOnHealth = 2000 // connections
)

// hammer asks a URL again and again from many connections until ctx is done. It counts the
// answers by status; 0 stands for none.
func hammer(ctx context.Context, wg *sync.WaitGroup, url string, s *service, count *[600]atomic.Int64) {
	for i := range hammerers {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.host(100 + i%hammererIPs))}}
		tr := &http.Transport{DialContext: d.DialContext, MaxConnsPerHost: 1}
		wg.Go(func() {
			defer tr.CloseIdleConnections()
			for ctx.Err() == nil {
				count[get(ctx, tr, url)].Add(1)
			}
		})
	}
}

func get(ctx context.Context, tr *http.Transport, url string) (status int) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// Hundreds of askers hammer the health ports with the dearest question, while thousands of
// idle connections are open there. No verdict changes, and no client is moved.
func TestHammeredHealthPort(t *testing.T) {
	s := newService(t, 10, exampleServer)
	s.grow(t, 3)
	cs := start(t, 30, "pick_first", s.target(), false, from(10, 1))
	cs.awaitAnswers(t)
	during(resolverRest, func() {})
	eventually(t, 120*time.Second, "the pods are not even", func() bool {
		s.settle(t)
		return s.allPods(t, func(st *rebalance.Status) bool { return strings.Contains(st.Why, "inside the band") })
	})
	before := s.goAways(t)

	keys := make([]string, hammerKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("%024x", i)
	}
	var idle []net.Conn
	for i := range idleOnHealth {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.host(100 + i%hammererIPs))}}
		nc, err := d.Dial("tcp", s.pods[0].HTTP())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			continue // it was closed in favour of others
		}
		idle = append(idle, nc)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hammeredFor)
	defer cancel()
	var wg sync.WaitGroup
	var count [600]atomic.Int64
	for _, p := range s.pods {
		hammer(ctx, &wg, "http://"+p.HTTP()+"/peerz?keys="+strings.Join(keys, ","), s, &count)
	}
	<-ctx.Done()
	wg.Wait()
	t.Logf("%d answers with 200, %d with 503, %d none", count[200].Load(), count[503].Load(), count[0].Load())
	for _, st := range s.statuses(t) {
		stale := slices.ContainsFunc(st.Conditions, func(c rebalance.Condition) bool { return c.Code == "stale-view" || c.Code == "peers-silent" })
		if st.Verdict != rebalance.Balanced || stale {
			t.Errorf("%s: the verdict is %s, want balanced: %s %v", st.Pod, st.Verdict, st.Why, st.Conditions)
		}
	}
	s.settle(t)
	if n := s.goAways(t) - before; n != 0 {
		t.Errorf("hammering has moved clients: %d GOAWAYs", n)
	}
	open := 0
	for _, nc := range idle {
		if !closedByPeer(nc) {
			open++
		}
	}
	t.Logf("%d of %d idle connections are open", open, len(idle))
	if open > 512 {
		t.Errorf("%d idle connections are open, want 512 at most", open)
	}
	cs.check(t)
}

func closedByPeer(nc net.Conn) bool {
	_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := io.Copy(io.Discard, nc)
	return err == nil || !errors.Is(err, os.ErrDeadlineExceeded)
}
