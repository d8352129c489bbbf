package rebalance

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// deafConn is a connection on which nothing happens.
type deafConn struct {
	net.Conn

	addr net.TCPAddr
}

func (c *deafConn) RemoteAddr() net.Addr           { return &c.addr }
func (c *deafConn) LocalAddr() net.Addr            { return &c.addr }
func (c *deafConn) Read([]byte) (int, error)       { return 0, io.EOF }
func (c *deafConn) Close() error                   { return nil }
func (c *deafConn) SetDeadline(time.Time) error    { return nil }
func (*deafConn) SetReadDeadline(time.Time) error  { return nil }
func (*deafConn) SetWriteDeadline(time.Time) error { return nil }

func clientIP(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) }

// crowded is a pod with a connection of each of n clients.
func crowded(tb testing.TB, n int, salt string) (b *Balancer, add func(key string)) {
	tb.Helper()
	cfg := config.Default()
	cfg.Peers.Salt = salt
	b, err := New(cfg, WithSelf("pod-a", "127.0.0.1"))
	if err != nil {
		tb.Fatal(err)
	}
	var all []net.Conn
	add = func(key string) {
		nc := b.reg.Add(&deafConn{}, key)
		begin(nc, h2conn.InUse)
		all = append(all, nc)
	}
	for i := range n {
		add(clientIP(i))
	}
	tb.Cleanup(func() {
		for _, c := range all {
			_ = c.Close()
		}
	})
	return b, add
}

// begin lets the client of a connection begin to use it.
func begin(nc net.Conn, use h2conn.Use) { conns.FromAddr(nc.RemoteAddr()).OnUse(use) }

// The answer to a query names the keys that this pod has found to be single-homed.
func TestSingleHomedKeysAreReported(t *testing.T) {
	b, _ := crowded(t, 3, "")
	h := peerz.NewHasher("")
	single, other := h.Hash(clientIP(1)), h.Hash(clientIP(2))
	b.singleHomed = map[string]bool{clientIP(1): true}
	if r := b.report([]string{single, other}); r.Keys[single] != 1 || r.Keys[other] != 1 || !slices.Equal(r.SingleHomed, []string{single}) {
		t.Errorf("%+v, want one single-homed key", r)
	}
	if r := b.report([]string{other}); r.Pod == "" || !r.Ready || r.Connections == 0 || r.SaltCheck == "" || r.Loads != nil || r.Generation != 0 {
		t.Errorf("got %+v, want what is required, the keys and the salt: a query asks for nothing else", r)
	}
	if r := b.report([]string{other}); len(r.SingleHomed) > 0 {
		t.Errorf("%v are reported and were not asked for", r.SingleHomed)
	}
}

// A pod counts its clients at most twice a second, however many queries come, and releases the
// memory when none comes.
func TestManyKeysAreCountedOnceForManyQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{100, 1000} {
			b, add := crowded(t, n, "salt")
			h := peerz.NewHasher("salt")
			one, nobody, late := h.Hash(clientIP(7)), h.Hash("nobody"), h.Hash("late")
			want := func(when string, n int) {
				t.Helper()
				got := b.report([]string{one, nobody, late}).Keys
				if len(got) > 2 || got[one] != 1 || got[nobody] != 0 || got[late] != n {
					t.Errorf("%s: counts %v, want %d of the key that came late", when, got, n)
				}
			}
			want("at first", 0)
			add("late")
			add("late")
			want("at once", 0)
			time.Sleep(indexShared)
			want("half a second later", 2)
			b.keys.drop()
			if b.keys.index == nil {
				t.Error("the index was dropped too early")
			}
			time.Sleep(indexKept)
			b.keys.drop()
			if b.keys.index != nil || b.keys.keys != nil {
				t.Error("the index is kept although no peer asks")
			}
			want("after that", 2)
		}
	})
}

func TestQueriesAtTheSameTime(t *testing.T) {
	b, _ := crowded(t, 500, "")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				key := peerz.HashKey(clientIP(i))
				if got := b.report([]string{key}).Keys; got[key] != 1 {
					t.Errorf("%v", got)
				}
				b.keys.drop()
			}
		})
	}
	wg.Wait()
}

// A poll without keys must be answered at once, however long the hashing for a query takes.
func TestPollsDoNotWaitForQueries(t *testing.T) {
	b, _ := crowded(t, 3, "")
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	if r := b.report(nil); r.Connections != 3 {
		t.Errorf("%+v", r)
	}
	b.keys.drop()
}

// BenchmarkKeys answers queries for 512 keys on pods of several sizes, one after the other as
// in a growth.
func BenchmarkKeys(b *testing.B) {
	for _, n := range []int{400, 1000, 9999, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			bal, _ := crowded(b, n, "salt")
			hashed := make([]string, peerz.MaxKeys)
			for i := range hashed {
				hashed[i] = peerz.NewHasher("salt").Hash(clientIP(i * n / len(hashed)))
			}
			for b.Loop() {
				if r := bal.report(hashed); r.Keys[hashed[1]] != 1 {
					b.Fatal(r)
				}
			}
		})
	}
}

// BenchmarkKeys100000 answers queries for 512 keys on a pod with 100,000 clients: the
// first of a burst, one of the burst, and how long the registry is locked for the first.
func BenchmarkKeys100000(b *testing.B) {
	for _, salt := range []string{"", "salt"} {
		bal, _ := crowded(b, 100_000, salt)
		hashed := make([]string, peerz.MaxKeys)
		for i := range hashed {
			hashed[i] = peerz.NewHasher(salt).Hash(clientIP(i * 100))
		}
		x := &bal.keys
		ask := func(b *testing.B) {
			b.Helper()
			var r peerz.Report
			if x.answer(&r, bal.reg, bal.peers.Hasher(), nil, hashed); r.Keys[hashed[1]] != 1 {
				b.Fatal(r)
			}
		}
		b.Run("first/salt="+salt, func(b *testing.B) {
			for b.Loop() {
				x.at = time.Time{}
				ask(b)
			}
		})
		b.Run("burst/salt="+salt, func(b *testing.B) {
			for b.Loop() {
				x.at = time.Now()
				ask(b)
			}
		})
		b.Run("locked/salt="+salt, func(b *testing.B) {
			for b.Loop() {
				x.keys = x.keys[:0]
				bal.reg.EachKey(func(key string, serving int) bool {
					x.keys = append(x.keys, keyCount{key, serving})
					return true
				})
			}
		})
	}
}
