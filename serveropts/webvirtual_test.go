package serveropts_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// startWeb starts the web server of a pod, beside its gRPC server and with the same Balancer.
func (s *service) startWeb(p *pod) {
	web := &http.Server{Handler: s.web, Protocols: new(http.Protocols)}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetUnencryptedHTTP2(true)
	p.webPort, p.webSrv = newPort(buffered), serveropts.HTTPServer(p.bal, web)
	s.wg.Go(func() { _ = p.webSrv.Serve(p.webPort) })
}

// browse starts an HTTP client with so many callers, all of which request at the same time once
// every pause. Its new connections go to a random pod, as those behind a ClusterIP do.
func (s *service) browse(n, proto, callers int, pause time.Duration) {
	from := netip.AddrFrom4([4]byte{198, 18, byte(2 + n/250), byte(1 + n%250)})
	chance := rand.New(rand.NewPCG(2, uint64(n)))
	tr := &http.Transport{
		Protocols: new(http.Protocols), MaxIdleConnsPerHost: callers,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			s.mu.Lock()
			to := s.pods[chance.IntN(len(s.pods))].webPort
			s.mu.Unlock()
			return to.dial(ctx, netip.AddrPortFrom(from, 4711))
		},
	}
	tr.Protocols.SetHTTP1(proto == 1)
	tr.Protocols.SetUnencryptedHTTP2(proto == 2)
	phase := time.Duration(chance.Float64() * float64(pause))
	for range callers {
		s.wg.Go(func() {
			defer tr.CloseIdleConnections()
			time.Sleep(phase)
			for s.ctx.Err() == nil {
				if err := request(s.ctx, tr); err != nil && s.ctx.Err() == nil {
					s.t.Log(err)
					s.failed.Add(1)
				}
				s.calls.Add(1)
				select {
				case <-time.After(pause):
				case <-s.ctx.Done():
				}
			}
		})
	}
}

// request makes a request that the client must not repeat.
func request(ctx context.Context, tr *http.Transport) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://service/", http.NoBody)
	if err != nil {
		return err
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// loads returns the connections of each pod that are not draining.
func (s *service) loads() (all []int, sum int) {
	for _, p := range s.pods {
		st := p.bal.Status()
		all = append(all, st.Connections-st.Draining)
		sum += st.Connections - st.Draining
	}
	return all, sum
}

// wantEven checks that no pod is outside the band.
func (s *service) wantEven() {
	s.t.Helper()
	all, sum := s.loads()
	mean := float64(sum) / float64(len(all))
	for i, n := range all {
		if float64(n) > max(mean*1.1+1, mean+1) || float64(n) < 0.7*mean-1 {
			st := s.pods[i].bal.Status()
			s.t.Errorf("%v connections, %s is outside the band: %s: %s", all, st.Pod, st.Verdict, st.Why)
		}
	}
}

// answerAfter is a handler that takes so long.
func answerAfter(d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(d)
		_, _ = io.WriteString(w, "hello")
	})
}

// HTTP clients follow a scale-up, and are left alone from then on. No request fails.
func TestWebClientsFollowAGrowth(t *testing.T) {
	for _, tc := range []struct {
		proto, clients, callers int
		pause                   time.Duration
	}{
		{proto: 1, clients: 40, callers: 1, pause: 3 * time.Second},
		{proto: 2, clients: 20, callers: 2, pause: 4 * time.Second},
		{proto: 1, clients: 4, callers: 10, pause: 4 * time.Second}, // each client is on all pods

		{proto: 1, clients: 40, callers: 1, pause: 20 * time.Second},
	} {
		if day < 24*time.Hour && tc.callers == 1 {
			continue // the race detector learns nothing new from them
		}
		t.Run(fmt.Sprintf("HTTP %d, %d clients of %d every %v", tc.proto, tc.clients, tc.callers, tc.pause), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, nil)
				s.web = answerAfter(30 * time.Millisecond)
				s.scale(2)
				for i := range tc.clients {
					s.browse(i, tc.proto, tc.callers, tc.pause)
				}
				time.Sleep(2 * time.Minute)
				before := s.goaways()
				s.scale(5)
				time.Sleep(3*time.Minute + 10*tc.pause)
				s.wantEven()
				after := s.goaways()
				all, sum := s.loads()
				moved := after["even"] + after["reach"] - before["even"] - before["reach"]
				t.Logf("%v connections, %d drained (before %v, after %v), %d calls", all, moved, before, after, s.calls.Load())
				if moved == 0 || float64(moved) > 1.6*float64(sum) {
					t.Errorf("%d of %d connections were drained", moved, sum)
				}
				time.Sleep(3 * time.Minute)
				s.wantEven()
				rest := s.goaways()
				if late := rest["even"] + rest["reach"] - after["even"] - after["reach"]; late != 0 {
					t.Errorf("%d connections were drained in three minutes at rest", late)
				}
				s.wantNoneFailed()
				s.stop()
			})
		})
	}
}

// A scale-up does not wait for the cooldown of the connections that came back by chance, although
// each new connection of a client with several counts as one. The limit holds for each seed: the
// first drain comes after 5 s, and the cooldown is 30 s.
func TestWebClientsDoNotWaitForTheCooldown(t *testing.T) {
	if day < 24*time.Hour {
		t.Skip("the race detector learns nothing new from it")
	}
	const clients, callers, seeds = 4, 5, 12
	limit := 5*time.Second + config.Default().Rebalance.Cooldown
	var all []time.Duration
	var per [6]struct{ at, moved []float64 } // of the first rounds
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t, nil, rebalance.WithLogger(slog.New(slog.DiscardHandler)))
			s.web = answerAfter(5 * time.Millisecond)
			s.scale(2)
			for i := range clients {
				s.browse(clients*seed+i, 1, callers, 500*time.Millisecond)
			}
			time.Sleep(2 * time.Minute)
			s.scale(5)
			begun := time.Now()
			all = append(all, s.evenAfter(2*time.Minute))
			for i, r := range s.rounds(begun) {
				if i < len(per) {
					per[i].at, per[i].moved = append(per[i].at, r.at.Seconds()), append(per[i].moved, float64(r.moved))
				}
			}
			s.wantNoneFailed()
			s.stop()
		})
	}
	slices.Sort(all)
	t.Logf("even after %v", all)
	for i, r := range per {
		slices.Sort(r.at)
		slices.Sort(r.moved)
		if n := len(r.at); n > 0 {
			t.Logf("round %d, in %d of %d seeds: %.1f s after the growth, %.0f drained (medians)", i+1, n, seeds, r.at[n/2], r.moved[n/2])
		}
	}
	if all[seeds-1] >= limit {
		t.Errorf("even after %v, want less than %v", all, limit)
	}
}

// round is what all pods drained at about the same time.
type round struct {
	at    time.Duration // since the growth
	moved int
}

// rounds returns the rounds since a growth, from the pods' decisions.
func (s *service) rounds(begun time.Time) (all []round) {
	var moves []rebalance.Decision
	for _, p := range s.pods {
		for _, d := range p.bal.Status().Decisions {
			if d.Action == "move" && d.At.After(begun) {
				moves = append(moves, d)
			}
		}
	}
	slices.SortFunc(moves, func(a, b rebalance.Decision) int { return a.At.Compare(b.At) })
	for i, d := range moves {
		if i == 0 || d.At.Sub(moves[i-1].At) > 1500*time.Millisecond {
			all = append(all, round{at: d.At.Sub(begun)})
		}
		all[len(all)-1].moved += d.Count
	}
	return all
}

// evenAfter returns how long it takes until no pod has more than 1.45 times the mean of the
// connections, as example/demo counts, for 5 s.
func (s *service) evenAfter(bound time.Duration) (even time.Duration) {
	const lasts = 5 * time.Second
	begun := time.Now()
	for time.Since(begun) < bound && time.Since(begun) < even+lasts {
		time.Sleep(250 * time.Millisecond)
		if all, sum := s.loads(); float64(slices.Max(all)) > 1.45*float64(sum)/float64(len(all)) {
			even = time.Since(begun)
		}
	}
	return even
}

// One Balancer serves two listeners: clients of gRPC and of HTTP both follow, and their loads add
// up.
func TestTwoListenersOneBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, nil)
		s.web = answerAfter(time.Millisecond)
		s.scale(2)
		const clients = 10
		for i := range clients {
			s.multiHomed(4 * time.Second)
			s.browse(i, 1, 1, 4*time.Second)
		}
		time.Sleep(2 * time.Minute)
		if _, sum := s.loads(); sum != 2*clients+clients {
			t.Errorf("got %d connections, want %d", sum, 2*clients+clients)
		}
		if st := s.pods[0].bal.Status(); st.Load != float64(st.Connections) {
			t.Errorf("got a load of %v of %d connections", st.Load, st.Connections)
		}
		s.scale(5)
		time.Sleep(3 * time.Minute)
		s.wantEven()
		all, sum := s.loads()
		t.Logf("%v connections, GOAWAYs %v", all, s.goaways())
		if sum != 5*clients+clients || s.goaways()["reach"] < clients {
			t.Errorf("got %d connections and %v GOAWAYs, want %d", sum, s.goaways(), 5*clients+clients)
		}
		s.wantNoneFailed()
		first := s.pods[0]
		if err := first.bal.Shutdown(context.Background(), first.srv, first.webSrv); err != nil || first.bal.Status().Connections != 0 {
			t.Errorf("Shutdown of both servers: %v, %d connections left", err, first.bal.Status().Connections)
		}
		s.stop()
	})
}
