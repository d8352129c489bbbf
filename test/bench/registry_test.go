package bench

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// registrySizes are the connections of one pod in a large fleet, and ten times as many.
var registrySizes = []int{10_000, 100_000}

// connsPerKey is the number of connections of each client.
const connsPerKey = 4

// silent is a connection that never carries data.
type silent struct {
	net.Conn
	remote net.TCPAddr
}

func newSilent(i int) *silent {
	return &silent{remote: net.TCPAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Port: 50051}}
}

func (s *silent) RemoteAddr() net.Addr { return &s.remote }
func (s *silent) LocalAddr() net.Addr  { return &s.remote }
func (*silent) Close() error           { return nil }

// keyOf is the key of connection i.
func keyOf(i int) string { return fmt.Sprintf("10.0.%d.%d", i/connsPerKey>>8, i/connsPerKey&0xff) }

// fullRegistry returns a registry with n connections. It closes them at the end of the test,
// since the index of addresses is shared by the whole process.
func fullRegistry(tb testing.TB, n int) (*conns.Registry, []net.Conn) {
	tb.Helper()
	reg := conns.NewRegistry(time.Second)
	all := make([]net.Conn, n)
	for i := range all {
		all[i] = reg.Add(newSilent(i), keyOf(i))
		conns.FromAddr(all[i].RemoteAddr()).OnUse(h2conn.InUse)
	}
	tb.Cleanup(func() {
		for _, nc := range all {
			if err := nc.Close(); err != nil {
				tb.Error(err)
			}
		}
	})
	return reg, all
}

// rpcContext is the context of a handler whose RPC arrived on nc.
func rpcContext(nc net.Conn) context.Context {
	return peer.NewContext(context.Background(), &peer.Peer{Addr: nc.RemoteAddr()})
}

// A handler may look up its connection in every call, so the lookup must not allocate.
func TestFromContextDoesNotAllocate(t *testing.T) {
	_, all := fullRegistry(t, 1000)
	ctx := rpcContext(all[500])
	if rebalance.Draining(ctx) == nil { // creates the channel, once per connection
		t.Fatal("the connection was not found")
	}
	look := func() {
		if c, ok := conns.FromContext(ctx); c == nil || !ok || rebalance.Draining(ctx) == nil {
			t.Error("the connection was not found")
		}
	}
	if n := testing.AllocsPerRun(1000, look); n != 0 {
		t.Errorf("got %v allocations per lookup, want 0", n)
	}
}

func BenchmarkFromContext(b *testing.B) {
	for _, n := range registrySizes {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			_, all := fullRegistry(b, n)
			ctxs := make([]context.Context, 1024)
			for i := range ctxs {
				ctxs[i] = rpcContext(all[i*7919%n]) //nolint:fatcontext // the contexts are independent
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if c, _ := conns.FromContext(ctxs[i%len(ctxs)]); c == nil {
						b.Error("the connection was not found")
						return
					}
				}
			})
		})
	}
}

// BenchmarkAddAndClose measures the cost of opening and closing a connection among n others,
// without its handshake.
func BenchmarkAddAndClose(b *testing.B) {
	for _, n := range registrySizes {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			reg, _ := fullRegistry(b, n)
			one, key := newSilent(n), keyOf(n)
			b.ReportAllocs()
			for b.Loop() {
				nc := reg.Add(one, key)
				conns.FromAddr(nc.RemoteAddr()).OnUse(h2conn.InUse)
				if err := nc.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWait measures how long a handler that sets another key waits for the lock of the
// registry, while something visits all connections. Few waits are long, so the longest and the
// 99th percentile are reported.
func BenchmarkWait(b *testing.B) {
	const n = 100_000
	for name, visit := range map[string]func(*conns.Registry){
		"nothing": func(*conns.Registry) { time.Sleep(time.Millisecond) },
		"Each":    func(r *conns.Registry) { r.Each(func(*conns.Info) {}) },
		"EachKey": func(r *conns.Registry) { r.EachKey(func(string, int) bool { return true }) },
		"Pick":    func(r *conns.Registry) { r.Pick([]uint64{n}) },
		"Sample":  func(r *conns.Registry) { r.Sample(nil) },
		"Totals":  func(r *conns.Registry) { r.Totals() },
	} {
		b.Run(name, func(b *testing.B) {
			reg, all := fullRegistry(b, n)
			c := conns.FromAddr(all[n/2].RemoteAddr())
			ctx, cancel := context.WithCancel(b.Context())
			var visits sync.WaitGroup
			visits.Go(func() {
				for ctx.Err() == nil {
					visit(reg)
				}
			})
			var waits []time.Duration
			for i := 0; b.Loop(); i++ {
				begun := time.Now()
				c.SetKey(keyOf(i % 2))
				waits = append(waits, time.Since(begun))
				time.Sleep(50 * time.Microsecond)
			}
			cancel()
			visits.Wait()
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-us")
			b.ReportMetric(float64(waits[len(waits)-1].Microseconds()), "max-us")
		})
	}
}

// BenchmarkEach measures one pass over all connections, as before each plan.
func BenchmarkEach(b *testing.B) {
	overRegistry(b, func(b *testing.B, reg *conns.Registry, n int) {
		seen := 0
		reg.Each(func(*conns.Info) { seen++ })
		if seen != n {
			b.Fatalf("got %d connections, want %d", seen, n)
		}
	})
}

// BenchmarkTotals measures the cost of a scrape of the metrics.
func BenchmarkTotals(b *testing.B) {
	overRegistry(b, func(b *testing.B, reg *conns.Registry, n int) {
		if t := reg.Totals(); t.Connections != n {
			b.Fatalf("got %d connections, want %d", t.Connections, n)
		}
	})
}

// BenchmarkBrief measures the cost of a peer's poll.
func BenchmarkBrief(b *testing.B) {
	overRegistry(b, func(b *testing.B, reg *conns.Registry, n int) {
		if t := reg.Brief(); t.Connections != n {
			b.Fatalf("got %d connections, want %d", t.Connections, n)
		}
	})
}

// BenchmarkSample measures what is done once a second for connections without RPCs. With a weight
// of the user's, some of them are weighed.
func BenchmarkSample(b *testing.B) {
	for name, weigh := range map[string]func(*conns.Info) float64{
		"weight=built-in": nil,
		"weight=own":      func(i *conns.Info) float64 { return 1 + i.RequestRate },
	} {
		b.Run(name, func(b *testing.B) {
			overRegistry(b, func(b *testing.B, reg *conns.Registry, n int) {
				reg.Sample(weigh)
				if l := reg.Loads(); l.Weight != float64(n) {
					b.Fatalf("%+v", l)
				}
			})
		})
	}
}

// BenchmarkLoads measures the sums alone.
func BenchmarkLoads(b *testing.B) {
	overRegistry(b, func(b *testing.B, reg *conns.Registry, n int) {
		if l := reg.Loads(); l.Connections != n {
			b.Fatalf("%+v", l)
		}
	})
}

// BenchmarkPick measures one drain.
func BenchmarkPick(b *testing.B) {
	overRegistry(b, func(b *testing.B, reg *conns.Registry, n int) {
		if got := reg.Pick([]uint64{uint64(n)}); len(got) != 1 {
			b.Fatal("the connection was not found")
		}
	})
}

func overRegistry(b *testing.B, f func(b *testing.B, reg *conns.Registry, n int)) {
	for _, n := range registrySizes {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			reg, _ := fullRegistry(b, n)
			b.ReportAllocs()
			for b.Loop() {
				f(b, reg, n)
			}
		})
	}
}

// BenchmarkStatus measures /statusz without its JSON.
func BenchmarkStatus(b *testing.B) {
	overBalancer(b, func(b *testing.B, bal *rebalance.Balancer, n int) {
		if s := bal.Status(); s.Connections != n {
			b.Fatalf("got %d connections, want %d", s.Connections, n)
		}
	})
}

// BenchmarkReport measures the answer to one peer's poll.
func BenchmarkReport(b *testing.B) {
	overBalancer(b, func(b *testing.B, bal *rebalance.Balancer, n int) {
		if r := inside.Of(bal).Report(nil); r.Connections != n {
			b.Fatalf("got %d connections, want %d", r.Connections, n)
		}
	})
}

func overBalancer(b *testing.B, f func(b *testing.B, bal *rebalance.Balancer, n int)) {
	for _, n := range registrySizes {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			bal := fullBalancer(b, n)
			b.ReportAllocs()
			for b.Loop() {
				f(b, bal, n)
			}
		})
	}
}

// fullBalancer returns a Balancer that tracks n connections and does not run.
func fullBalancer(b *testing.B, n int) *rebalance.Balancer {
	b.Helper()
	bal, err := rebalance.New(config.Default(), rebalance.WithSelf("pod-a", "10.255.0.1"))
	must(b, err)
	for i := range n {
		nc := newSilent(i / connsPerKey)
		tracked := inside.Of(bal).Track(nc, nil)
		conns.FromAddr(tracked.RemoteAddr()).OnUse(h2conn.InUse)
		b.Cleanup(func() { must(b, tracked.Close()) })
	}
	return bal
}
