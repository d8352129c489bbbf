package dns

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/peers"
)

// counting counts the questions for each name. One lookup asks for both families.
type counting struct {
	fakeDNS

	mu    sync.Mutex
	asked map[string]int
}

func (c *counting) Addrs(ctx context.Context, name string) ([]netip.Addr, error) {
	c.mu.Lock()
	c.asked[name] += 2
	c.mu.Unlock()
	return c.fakeDNS.Addrs(ctx, name)
}

func (c *counting) count() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.asked {
		n += one
	}
	return n
}

// At rest, a pod asks for a complete name every 5 s: 0.4 questions a second. In the first half
// minute, and after each change, it asks every second, since more changes are likely.
func TestQuestionsAtRest(t *testing.T) {
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		fake := &counting{asked: map[string]int{}}
		fake.set(nil, "10.0.0.1")
		s, err := New(Options{Name: "hello-headless.shop.svc"})
		if err != nil {
			t.Fatal(err)
		}
		s.resolver, s.resolvConf = fake, resolvConf
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, func(peers.Membership) {}) }()
		perSecond := func(d time.Duration) float64 {
			before := fake.count()
			time.Sleep(d)
			return float64(fake.count()-before) / d.Seconds()
		}
		begin := perSecond(20 * time.Second)
		time.Sleep(20 * time.Second)
		rest := perSecond(10 * time.Minute)
		fake.set(nil, "10.0.0.1", "10.0.0.2")
		time.Sleep(6 * time.Second)
		changed := perSecond(20 * time.Second)
		time.Sleep(20 * time.Second)
		after := perSecond(time.Minute)
		cancel()
		<-done
		if begin < 1.7 || rest > 0.45 || changed < 1.7 || after > 0.6 {
			t.Errorf("questions a second: %.1f at first, %.2f at rest, %.1f after a change, %.2f later", begin, rest, changed, after)
		}
		if names := slices.Collect(func(yield func(string) bool) {
			for name := range fake.asked {
				if !yield(name) {
					return
				}
			}
		}); !slices.Equal(names, []string{"hello-headless.shop.svc.cluster.local."}) {
			t.Errorf("asked for %q, want the complete name", names)
		}
	})
}
