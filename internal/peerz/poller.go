package peerz

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

const (
	// DefaultConcurrency is how many pods are polled at a time.
	DefaultConcurrency = 8
	// maxWaves is how many pods, one after the other, share the time of a poll. With
	// more, each pod's share would be too short for a busy one to answer.
	maxWaves = 4
)

// Poller polls many pods at a time and remembers nothing. The zero value works; it is safe for concurrent use, and its fields must not change after the first Poll.
type Poller struct {
	// Client makes the requests. If it is nil, the Poller uses one of its own.
	Client *Client
	// Deadline bounds a call of Poll. If all pods can be polled at the same time, each has
	// all of it. Otherwise each has a share, at least a quarter, so that pods that hang do
	// not use up the others' time. Zero or less means 1 s.
	Deadline time.Duration
	// Concurrency is how many pods are polled at a time. Zero or less means
	// [DefaultConcurrency].
	Concurrency int

	own Client
}

// Answer is the result of polling one pod.
type Answer struct {
	// Report is valid if Err is nil.
	Report Report
	// Err is why there is no report: an [*Error].
	Err error
}

// ErrNotAsked is the Err of a pod that was not polled because too many before it hung. That
// is no failure of this pod, so poll it earlier next time. Its class is [Timeout].
var ErrNotAsked error = &Error{Class: Timeout, Err: errors.New("the time for polling was over before this pod could be polled")}

// Poll polls each of addrs once, in their order as far as Concurrency allows, and returns
// their answers in that order. It returns within Deadline, and with ctx, even if no pod answers.
func (p *Poller) Poll(ctx context.Context, addrs []netip.AddrPort) []Answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(max(p.Deadline, 0), time.Second))
	defer cancel()
	end, _ := ctx.Deadline() // the caller's, if that is earlier

	answers := make([]Answer, len(addrs))
	next := make(chan int, len(addrs))
	for i := range addrs {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	askers := cmp.Or(max(p.Concurrency, 0), DefaultConcurrency)
	share := time.Until(end) / time.Duration(waves(len(addrs), askers))
	for range min(len(addrs), askers) {
		wg.Go(func() {
			for i := range next {
				answers[i] = p.ask(ctx, addrs[i], share)
			}
		})
	}
	wg.Wait()
	return answers
}

// waves returns how many pods each asker has one after the other.
func waves(pods, askers int) int {
	return min(max((pods+askers-1)/askers, 1), maxWaves)
}

// Close drops idle connections. The Poller can be used again.
func (p *Poller) Close() { p.client().Close() }

func (p *Poller) client() *Client {
	if p.Client != nil {
		return p.Client
	}
	return &p.own
}

// ask polls one pod, unless the time is over.
func (p *Poller) ask(ctx context.Context, addr netip.AddrPort, share time.Duration) Answer {
	// A pod with less than half of its share would fail through no fault of its own.
	if end, ok := ctx.Deadline(); ctx.Err() != nil || (ok && time.Until(end) < share/2) {
		return Answer{Err: ErrNotAsked}
	}
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	rep, err := p.client().Ask(ctx, addr.String(), nil)
	return Answer{Report: rep, Err: err}
}
