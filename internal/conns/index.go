package conns

import (
	"context"
	"hash/maphash"
	"net"
	"sync"

	"google.golang.org/grpc/peer"
)

// index finds a connection by the address of its peer. The whole process has one index: an
// address is a pointer that no other live connection shares. The registries of several
// servers therefore do not collide, and a handler needs nothing but its context.
var index [64]shard

// shard is one part of the index with its own lock, to keep contention low.
type shard struct {
	mu sync.RWMutex
	m  map[net.Addr]*Conn
}

var seed = maphash.MakeSeed()

func shardOf(a net.Addr) *shard {
	return &index[maphash.Comparable(seed, a)%uint64(len(index))]
}

func indexAdd(a net.Addr, c *Conn) {
	s := shardOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[net.Addr]*Conn)
	}
	s.m[a] = c
}

func indexRemove(a net.Addr) {
	s := shardOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, a)
}

// FromAddr returns the connection whose RemoteAddr is a, the identical value and not an
// equal one. It returns nil if there is none.
func FromAddr(a net.Addr) *Conn {
	if a == nil {
		return nil
	}
	s := shardOf(a)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[a]
}

// FromContext returns the connection that carries the RPC of ctx, or nil if it is not
// tracked. ok is false if ctx does not belong to an RPC.
func FromContext(ctx context.Context) (c *Conn, ok bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	return FromAddr(p.Addr), true
}
