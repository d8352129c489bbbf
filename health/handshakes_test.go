package health

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// addrOfAttacker returns one of many addresses.
func addrOfAttacker(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
}

// One address gets its rate, many together get theirs, and one that dials seldom is always admitted.
func TestHandshakesAreBounded(t *testing.T) {
	h := &handshakeBound{by: map[netip.Addr]*dialer{}}
	kubelet, alone := netip.MustParseAddr("198.19.0.1"), netip.MustParseAddr("198.19.0.2")
	admitted := map[string]int{}
	for i := range 60_000 { // a minute, 1,000 a second
		now := epoch.Add(time.Duration(i) * time.Millisecond)
		if h.admit(addrOfAttacker(i%30), now) {
			admitted["many"]++
		}
		if i < 10_000 && h.admit(alone, now) {
			admitted["one"]++
		}
		if i%500 == 0 && !h.admit(kubelet, now) {
			t.Errorf("after %v: the kubelet is refused", now.Sub(epoch))
		}
	}
	if n := admitted["one"]; n > 10*(10+handshakesBurst) {
		t.Errorf("one address made %d handshakes in 10 s", n)
	}
	if most := (60 + handshakesBurst) * (handshakesAll + 30*handshakesFree); admitted["many"] > most || admitted["many"] < most/2 {
		t.Errorf("30 addresses made %d handshakes in a minute, want up to %d", admitted["many"], most)
	}
	for i := range 3 * handshakesKept {
		h.admit(addrOfAttacker(i), epoch.Add(time.Hour))
	}
	if len(h.by) > handshakesKept {
		t.Errorf("%d addresses are remembered", len(h.by))
	}
}

// handshakesFrom dials so often at once from an address, and returns how many handshakes end well.
func handshakesFrom(t *testing.T, from net.IP, to string, cfg *tls.Config, dials int) int {
	t.Helper()
	var n atomic.Int64
	var all sync.WaitGroup
	for range dials {
		all.Go(func() {
			d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}, Config: cfg}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if nc, err := d.DialContext(ctx, "tcp", to); err == nil {
				n.Add(1)
				_ = nc.Close()
			}
		})
	}
	all.Wait()
	return int(n.Load())
}

// On a port with TLS, whoever dials again and again gets a few handshakes, and others are served.
func TestHandshakesOfThePortAreBounded(t *testing.T) {
	r, cfg := runTLS(t)
	addr := strings.TrimPrefix(r.base, "https://")
	const dials = 3 * handshakesEach * handshakesBurst
	if n := handshakesFrom(t, net.IPv4(127, 0, 3, 9), addr, cfg, dials); n < handshakesEach*handshakesBurst || n > dials/2 {
		t.Errorf("%d dials at once from one address made %d handshakes", dials, n)
	}
	if n := handshakesFrom(t, net.IPv4(127, 0, 3, 10), addr, cfg, 3); n != 3 {
		t.Errorf("beside them, 3 dials from another address made %d handshakes", n)
	}
}
