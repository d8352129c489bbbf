package conns

import (
	"context"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/evenkeel-go/evenkeel/internal/h1conn"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
)

// onWire is what the registry needs of a connection: an *h2conn.Conn or an *h1conn.Conn.
type onWire interface {
	RemoteAddr() net.Addr
	WrapAddr()
	Streams() (open int, opened uint64)
	Rest(open int, opened uint64) bool
	Drain(debug string, grace time.Duration) (flush func())
	Draining() <-chan struct{}
	AfterDraining(f func()) (stop func() bool)
	Lost() error
	CloseSilent() bool
}

var (
	_ onWire = (*h2conn.Conn)(nil)
	_ onWire = (*h1conn.Conn)(nil)
)

// Add wraps nc, whose client speaks HTTP/2. No byte of it may have passed yet. The registry
// lists the connection once its client speaks, so that probes which only connect do not count.
func (r *Registry) Add(nc net.Conn, key string) net.Conn {
	c := r.newConn(key)
	h2 := h2conn.New(nc, &r.h2, c)
	r.add(c, h2)
	return h2
}

// AddHTTP1 returns the Conn of nc, whose client speaks HTTP/1.1. The registry lists it with
// the first request that the server notes as a use of it.
func (r *Registry) AddHTTP1(nc net.Conn, key string) *h1conn.Conn {
	c := r.newConn(key)
	c.http1 = true
	h1 := h1conn.New(nc, c)
	r.add(c, h1)
	return h1
}

// countHTTP1Locked counts the HTTP/1.1 connections of a key.
func (r *Registry) countHTTP1Locked(k *keyState, n int32) {
	if r.http1 == nil {
		r.http1 = make(map[*keyState]int32)
	}
	if r.http1[k] += n; r.http1[k] == 0 {
		delete(r.http1, k)
	}
}

func (r *Registry) newConn(key string) *Conn {
	c := &Conn{reg: r, pos: isArriving, activePos: isGone, load: load{weight: 1}}
	c.key.Store(&keyState{key: key})
	return c
}

func (r *Registry) add(c *Conn, w onWire) {
	c.wire = w
	// The handler of the first RPC must find the connection.
	if !indexAdd(w.RemoteAddr(), c) {
		w.WrapAddr()
		indexAdd(w.RemoteAddr(), c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextID++
	c.id = r.nextID
	r.arriveLocked(c)
}

// waits reports whether a drained connection only waits for its client's next request, whose
// answer closes it.
func (c *Conn) waits() bool {
	h1, ok := c.wire.(*h1conn.Conn)
	if !ok || h1.Announced() {
		return false
	}
	open, _ := h1.Streams()
	return open == 0
}

// busyRate is the rate of requests, per second, from which on a client is expected to send
// another one soon.
const busyRate = 0.1

// Unannounced returns the number of drained connections whose clients learn of it with their next
// answer, which is expected soon.
func (r *Registry) Unannounced() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for c := r.drained.first; c != nil; c = c.drain.after {
		busy := c.use == h2conn.InUse && (c.load.requests > busyRate || !c.sampled)
		if h1, ok := c.wire.(*h1conn.Conn); ok && busy && !h1.Announced() {
			n++
		}
	}
	return n
}

// Carrier is what the context of a handler has of its connection, where net/http serves it.
type Carrier interface {
	// Carried returns the connection, nil as long as its protocol is not known.
	Carried() *Conn
}

type carrierKey struct{}

// NewContext returns a context whose handlers find the connection of c.
func NewContext(ctx context.Context, c Carrier) context.Context {
	return context.WithValue(ctx, carrierKey{}, c)
}

// CarrierFrom returns what NewContext was given, nil without.
func CarrierFrom(ctx context.Context) Carrier {
	c, _ := ctx.Value(carrierKey{}).(Carrier)
	return c
}

// FromContext returns the connection that carries the RPC or the request of ctx, or nil if it
// is not tracked. ok is false if ctx belongs to neither. A closed connection of gRPC is not
// found, one of net/http is.
func FromContext(ctx context.Context) (c *Conn, ok bool) {
	p, ok := peer.FromContext(ctx)
	if ok {
		c = FromAddr(p.Addr)
	}
	if c != nil {
		return c, true
	}
	carrier := CarrierFrom(ctx)
	if carrier == nil {
		return nil, ok
	}
	return carrier.Carried(), true
}

// UseOf returns the use of a connection by an HTTP request with this path and User-Agent.
// Probes of kubelets and load balancers are no client's.
func UseOf(path, userAgent string) h2conn.Use {
	for _, probe := range []string{"kube-probe/", "ELB-HealthChecker/", "GoogleHC/"} {
		if strings.HasPrefix(userAgent, probe) {
			return h2conn.Probed
		}
	}
	return useOf(path)
}

// InProcessAddr is the address of clients in this process. Their connections are not tracked,
// and are meant not to be.
type InProcessAddr struct{}

// Network returns "in-process".
func (InProcessAddr) Network() string { return "in-process" }

// String returns "in-process".
func (InProcessAddr) String() string { return "in-process" }
