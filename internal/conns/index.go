package conns

import (
	"context"
	"hash/maphash"
	"net"
	"reflect"
	"slices"
	"sync"
	"weak"

	"google.golang.org/grpc/peer"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
)

// index finds a connection by the address of its peer. The whole process has one index: an
// address is a pointer that no other live connection shares. The registries of several
// servers therefore do not collide, and a handler needs nothing but its context.
var index [64]shard

// shard is one part of the index with its own lock, to keep contention low.
type shard struct {
	mu sync.RWMutex
	// m holds no connection alive. grpc-go drops those of which it cannot make a transport,
	// without closing them.
	m      map[net.Addr]weak.Pointer[Conn]
	closed []net.Addr // of connections that were closed last; a ring
	next   int        // where the next one goes
}

// keptClosed is how many closed connections each shard remembers. Their handlers may go on
// for a while. Until grpc-go has canceled their contexts, they look like those of a connection
// that was never tracked.
const keptClosed = 64

var seed = maphash.MakeSeed()

func shardOf(a net.Addr) *shard {
	return &index[maphash.Comparable(seed, a)%uint64(len(index))]
}

// indexAdd reports false, and adds nothing, if another connection has the same address, or
// had it until a moment ago. So it is with the streams of a multiplexed session.
func indexAdd(a net.Addr, c *Conn) bool {
	s := shardOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.m[a]; taken || slices.Contains(s.closed, a) {
		return false
	}
	if s.m == nil {
		s.m = make(map[net.Addr]weak.Pointer[Conn])
	}
	s.m[a] = weak.Make(c)
	return true
}

// indexRemove removes c, but no other connection with the same address.
func indexRemove(a net.Addr, c weak.Pointer[Conn]) {
	s := shardOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[a] != c {
		return
	}
	delete(s.m, a)
	if len(s.closed) < keptClosed {
		s.closed = append(s.closed, a)
		return
	}
	s.closed[s.next] = a
	s.next = (s.next + 1) % keptClosed
}

// isKey reports whether a may be looked up. A server that is not tracked may have addresses of
// any type, and a map panics if it is asked for some.
func isKey(a net.Addr) bool {
	switch a.(type) {
	case nil:
		return false
	case *net.TCPAddr, *h2conn.Addr:
		return true // without the allocation
	}
	return reflect.ValueOf(a).Comparable()
}

// FromAddr returns the connection whose RemoteAddr is a, the identical value and not an
// equal one. It returns nil if there is none.
func FromAddr(a net.Addr) *Conn {
	if !isKey(a) {
		return nil
	}
	s := shardOf(a)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[a].Value()
}

// Untracked reports whether ctx belongs to an RPC on a connection that is not tracked, and
// was not tracked before it was closed.
func Untracked(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok || CarrierFrom(ctx) != nil || ctx.Err() != nil { // canceled with its connection
		return false
	}
	if _, ours := p.Addr.(InProcessAddr); ours {
		return false
	}
	if !isKey(p.Addr) {
		return true
	}
	s := shardOf(p.Addr)
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, live := s.m[p.Addr]
	return !live && !slices.Contains(s.closed, p.Addr)
}
