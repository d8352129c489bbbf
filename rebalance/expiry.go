package rebalance

import (
	"container/heap"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// expiries are the connections whose clients' certificates expire. It is empty unless
// policy.closeAtExpiry is set, so that other servers pay nothing for it.
type expiries struct {
	noTLS sync.Once // is logged once

	mu      sync.Mutex // guards what follows
	due     dueHeap
	sweepAt int // the length at which connections that have ended are dropped
}

// expiring is one connection. Its address identifies it: see conns.FromAddr.
type expiring struct {
	addr  net.Addr
	since time.Time
	at    time.Time // when it is drained
}

const (
	// expirySpread is the longest time before the expiry in which a connection is drained, and
	// expiryShare the largest part of the certificate's remaining life. Certificates that
	// expire together must not bring all their clients back in one second.
	expirySpread = time.Minute
	expiryShare  = 0.1
	// expirySpare is the part of that time, at its end, in which none is drained: a late timer
	// must not be later than the expiry.
	expirySpare = 0.1
	// youngConn is the age up to which a connection may be in its handshake still, and not be
	// registered yet. grpc-go ends a handshake after two minutes.
	youngConn = 3 * time.Minute
)

// noteExpiry makes sure that a new connection is drained before its client's certificate
// expires.
func (b *Balancer) noteExpiry(addr net.Addr, auth credentials.AuthInfo) {
	info, ok := auth.(credentials.TLSInfo)
	if !ok {
		b.expiries.noTLS.Do(func() {
			b.opts.log.Warn("policy.closeAtExpiry has no effect on a connection: the server is plaintext, or its credentials return an AuthInfo of their own",
				"authInfo", fmt.Sprintf("%T", auth))
		})
		return
	}
	now := time.Now()
	end := expiryOf(&info.State, now)
	if end.IsZero() {
		return
	}
	at := drainBefore(end, now)
	b.expiries.add(expiring{addr: addr, since: now, at: at})
	if at.Before(now.Add(plan.LongestRest)) {
		b.poke()
	}
}

// expiryOf returns when the certificate of the client stops being valid, the zero time if
// there is none. That is when a new handshake with the same certificates would fail: when
// the first certificate of its chain expires, be it the client's own or one of its issuers.
// If crypto/tls found several chains, the one that lasts longest counts.
//
// A program that verifies certificates itself, as those of SPIFFE and xDS do, leaves no
// chains. The client's own certificate then counts alone, and only if it has not expired:
// such a program may accept one that has, and would see it again at once.
func expiryOf(state *tls.ConnectionState, now time.Time) time.Time {
	var latest time.Time
	for _, chain := range state.VerifiedChains {
		if end := earliestEnd(chain); end.After(latest) {
			latest = end
		}
	}
	if latest.IsZero() && len(state.PeerCertificates) > 0 && state.PeerCertificates[0].NotAfter.After(now) {
		latest = state.PeerCertificates[0].NotAfter
	}
	return latest
}

func earliestEnd(chain []*x509.Certificate) time.Time {
	var end time.Time
	for _, c := range chain {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// drainBefore returns a random moment in the last part of the time before end.
func drainBefore(end, now time.Time) time.Time {
	last := min(expirySpread, time.Duration(expiryShare*float64(end.Sub(now))))
	early := last - time.Duration((1-expirySpare)*rand.Float64()*float64(last))
	return end.Add(-max(0, early))
}

func (x *expiries) add(e expiring) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.due) >= x.sweepAt {
		x.sweepLocked(e.since)
	}
	heap.Push(&x.due, e)
}

// sweepLocked drops the connections that have ended. It runs when their number may have
// doubled, so that it costs little per connection, and the memory is that of at most twice
// the connections that are open.
func (x *expiries) sweepLocked(now time.Time) {
	kept := x.due[:0]
	for _, e := range x.due {
		if now.Sub(e.since) < youngConn || conns.FromAddr(e.addr) != nil {
			kept = append(kept, e)
		}
	}
	clear(x.due[len(kept):])
	x.due = kept
	heap.Init(&x.due)
	x.sweepAt = 2*len(kept) + 64
}

// take removes and returns the addresses of the connections that are due, and the time until
// the next one is, at most plan.LongestRest.
func (x *expiries) take(now time.Time) (due []net.Addr, next time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.due) > 0 && !x.due[0].at.After(now) {
		due = append(due, x.due[0].addr)
		heap.Pop(&x.due)
	}
	if len(x.due) == 0 {
		return due, plan.LongestRest
	}
	return due, min(plan.LongestRest, x.due[0].at.Sub(now))
}

// drainExpiring drains the connections whose clients' certificates expire, and returns how
// long the loop may rest. It keeps no budget: no limit may keep a connection open that must
// be closed. The random moments spread the drains.
func (b *Balancer) drainExpiring() time.Duration {
	due, next := b.expiries.take(time.Now())
	for _, addr := range due {
		if c := conns.FromAddr(addr); c != nil {
			c.Drain(reason.Expiry, "the client's certificate is about to expire", b.inForce().Policy.MaxConnectionAgeGrace)
		}
	}
	return next
}

// dueHeap has the connection that is due first at its top.
type dueHeap []expiring

func (h *dueHeap) Len() int           { return len(*h) }
func (h *dueHeap) Less(i, j int) bool { return (*h)[i].at.Before((*h)[j].at) }
func (h *dueHeap) Swap(i, j int)      { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push adds an expiring at the end.
func (h *dueHeap) Push(e any) {
	one, _ := e.(expiring)
	*h = append(*h, one)
}

// Pop removes the last one. Its result is not used.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	(*h)[last] = expiring{}
	*h = (*h)[:last]
	return nil
}
