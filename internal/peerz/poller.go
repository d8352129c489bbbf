package peerz

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultConcurrency is how many pods are asked at a time.
	DefaultConcurrency = 8
	// maxTurns is how many pods, one after the other, share the time of a round.
	// With more, each pod's share would be too short for a busy one to answer.
	maxTurns = 4
	// forgetAfter is how long a pod is remembered that nobody asks for any more.
	forgetAfter = 5 * time.Minute
)

// Poller asks many pods at a time and remembers what each said last. The zero
// value works; it is safe for concurrent use, and its fields must not change after
// the first round.
type Poller struct {
	// Client asks. Nil: one of the Poller's own.
	Client *Client
	// Deadline bounds a round. It is each pod's, too, if all can be asked at the same
	// time; if not, a pod has its share, a quarter at least, so that those that hang
	// do not take all of the others' time. Zero or less: 1 s.
	Deadline time.Duration
	// Concurrency is the most pods that are asked at a time. Zero or less:
	// [DefaultConcurrency].
	Concurrency int

	own Client

	mu   sync.Mutex
	last map[netip.AddrPort]*memory
}

// Answer is what one pod has said.
type Answer struct {
	Addr netip.AddrPort
	// Report is this round's if Err is nil, else the last good one, if there is one.
	Report Report
	// Err is why there is no report from this round: an [*Error].
	Err error
	// At is when Report came. Zero: never.
	At time.Time
	// Failures is the number of failed questions since. A round that was over
	// before the pod's turn came ([ErrNoTurn]) is not counted.
	Failures int
}

// ErrNoTurn is the Err of a pod that was not asked, as too many others had hung.
// It has its turn before them in the next round. Its class is [Timeout].
var ErrNoTurn error = &Error{Class: Timeout, Err: errors.New("the round was over before its turn")}

// memory is an Answer and when it was last wanted.
type memory struct {
	Answer

	wanted time.Time
}

// Poll asks each of addrs once and returns their answers in the same order. It
// returns within Deadline, and with ctx, even if no pod answers. Those that answered last time are
// asked first.
func (p *Poller) Poll(ctx context.Context, addrs []netip.AddrPort) []Answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(max(p.Deadline, 0), time.Second))
	defer cancel()
	end, _ := ctx.Deadline() // the caller's, if that is earlier

	memories := p.recall(addrs)
	queue := make(chan *memory, len(memories))
	for _, m := range memories {
		queue <- m
	}
	close(queue)
	var wg sync.WaitGroup
	askers := cmp.Or(max(p.Concurrency, 0), DefaultConcurrency)
	share := time.Until(end) / time.Duration(turns(len(memories), askers))
	for range min(len(memories), askers) {
		wg.Go(func() {
			for m := range queue {
				p.ask(ctx, m, share)
			}
		})
	}
	wg.Wait()
	return p.answers(addrs)
}

// turns returns how many pods each asker has one after the other.
func turns(pods, askers int) int {
	return min(max((pods+askers-1)/askers, 1), maxTurns)
}

// Close drops idle connections. The Poller can be used again.
func (p *Poller) Close() { p.client().Close() }

func (p *Poller) client() *Client {
	if p.Client != nil {
		return p.Client
	}
	return &p.own
}

// recall returns what is remembered of addrs, each once, in the order in which
// they should be asked, and forgets those that were not wanted for long.
func (p *Poller) recall(addrs []netip.AddrPort) []*memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for addr, m := range p.last {
		if now.Sub(m.wanted) > forgetAfter {
			delete(p.last, addr)
		}
	}
	if p.last == nil {
		p.last = make(map[netip.AddrPort]*memory)
	}
	var memories []*memory
	seen := make(map[netip.AddrPort]bool, len(addrs))
	for _, addr := range addrs {
		m := p.last[addr]
		if m == nil {
			m = &memory{Answer: Answer{Addr: addr}}
			p.last[addr] = m
		}
		m.wanted = now
		if !seen[addr] {
			seen[addr] = true
			memories = append(memories, m)
		}
	}
	slices.SortStableFunc(memories, func(a, b *memory) int { return cmp.Compare(a.Failures, b.Failures) })
	return memories
}

// ask asks one pod, if the round is not over, and remembers the answer.
func (p *Poller) ask(ctx context.Context, m *memory, patience time.Duration) {
	// A pod with less than half of its time would fail through no fault of its own.
	if end, ok := ctx.Deadline(); ctx.Err() != nil || (ok && time.Until(end) < patience/2) {
		p.remember(m, Report{}, ErrNoTurn)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	rep, err := p.client().Ask(ctx, m.Addr.String(), nil)
	p.remember(m, rep, err)
}

func (p *Poller) remember(m *memory, rep Report, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Err = err
	switch {
	case err == nil:
		m.Report, m.At, m.Failures = rep, time.Now(), 0
	case !errors.Is(err, ErrNoTurn):
		m.Failures++
	}
}

func (p *Poller) answers(addrs []netip.AddrPort) []Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	answers := make([]Answer, len(addrs))
	for i, addr := range addrs {
		if m := p.last[addr]; m != nil {
			answers[i] = m.Answer
		}
	}
	return answers
}
