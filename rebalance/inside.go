package rebalance

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/internal/h1conn"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

func init() {
	inside.Of = func(bal any) inside.Balancer { return interior{bal.(*Balancer)} }
}

// interior gives serveropts and health the methods that users of a Balancer do not need.
type interior struct{ b *Balancer }

var _ inside.Balancer = interior{}

func (i interior) Handshake(raw net.Conn) (done func()) { return i.b.reg.Handshake(raw) }

func (i interior) Track(nc net.Conn, auth credentials.AuthInfo) net.Conn {
	conn := i.b.reg.Add(nc, i.b.arriving(nc, auth))
	i.b.watchExpiry(conn.RemoteAddr(), auth)
	return conn
}

func (i interior) TrackHTTP1(nc net.Conn, auth credentials.AuthInfo) *h1conn.Conn {
	conn := i.b.reg.AddHTTP1(nc, i.b.arriving(nc, auth))
	i.b.watchExpiry(conn.RemoteAddr(), auth)
	return conn
}

// arriving returns the key of a connection that has just arrived.
func (b *Balancer) arriving(nc net.Conn, auth credentials.AuthInfo) (key string) {
	b.expectRun()
	return b.opts.key(ConnInfo{RemoteAddr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr(), AuthInfo: auth})
}

func (b *Balancer) watchExpiry(addr net.Addr, auth credentials.AuthInfo) {
	if b.closeAtExpiry {
		b.noteExpiry(addr, auth)
	}
}

func (i interior) DrainForStop(ctx context.Context) {
	i.b.reg.DrainAll(ctx, reason.Shutdown, stoppingText, 0)
}

func (i interior) Seen(ctx context.Context) bool              { return i.b.seen(ctx) }
func (i interior) Ready() bool                                { return i.b.ready() }
func (i interior) Closing() <-chan struct{}                   { return i.b.stop.closing }
func (i interior) Report(hashedKeys []string) peerz.Report    { return i.b.report(hashedKeys) }
func (i interior) Starts(s peerz.Start)                       { i.b.peers.Starts(s) }
func (i interior) CheckPeer(state *tls.ConnectionState) error { return i.b.checkPeer(state) }
func (i interior) IsMember(addr netip.Addr) bool              { return i.b.peers.IsMember(addr) }
func (i interior) Members() int                               { return i.b.peers.Addresses() }
func (i interior) PeersTLS() *tls.Config                      { return i.b.peersTLS() }
func (i interior) SetHealthPort(port int)                     { i.b.setHealthPort(port) }
func (i interior) HealthFailed(addr string, err error)        { i.b.healthFailed(addr, err) }

// healthFailed shows why a health endpoint does not serve on an address. A nil err clears that,
// also for another address: the program has chosen another one then.
func (b *Balancer) healthFailed(addr string, err error) {
	text := ""
	if err != nil {
		text = fmt.Sprintf("the health endpoint does not serve on %s, so peers that poll this pod there get no answer: %v", addr, err)
	}
	b.conds.set(healthPort, text)
}
