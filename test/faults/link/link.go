package link

import (
	"container/heap"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// mtu is the longest packet that a device may have.
const mtu = 1 << 16

// Stats counts the packets of both directions.
type Stats struct {
	// Passed counts those that were handed to the other device, duplicates included.
	Passed int
	// Lost counts those that chance took, Waited those that waited for the bandwidth, Overflowed
	// those that found the queue full, Duplicated those that arrive twice, and Blocked those
	// that met a cut link or a forgotten flow.
	Lost, Waited, Overflowed, Duplicated, Blocked int
	// Late is the longest time by which the link handed over a packet too late, because the
	// machine was busy.
	Late time.Duration
}

// Link passes packets between two devices.
type Link struct {
	devices [2]io.ReadWriteCloser

	mu    sync.Mutex // guards what follows
	lanes [2]lane    // lanes[i] is from device i to the other
	wall  firewall
	cut   bool
	stats Stats
}

// New returns a link between two devices. Each Read of a device returns one packet, and each
// Write takes one. Equal seeds lose equal packets.
func New(a, b io.ReadWriteCloser, shape Shape, seed uint64) *Link {
	l := &Link{devices: [2]io.ReadWriteCloser{a, b}, wall: firewall{known: map[flow]bool{}}}
	for i := range l.lanes {
		l.lanes[i] = lane{shape: shape, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
	}
	return l
}

// Set changes the shape of both directions. Packets under way are not affected.
func (l *Link) Set(shape Shape) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.lanes {
		l.lanes[i].shape = shape
	}
}

// Forget makes the link forget all TCP connections, as a NAT does that restarts. From then on the
// packets of these connections vanish. New connections pass.
func (l *Link) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wall.forget()
}

// Cut makes all packets vanish, as if the cable were out, until it is called with false.
func (l *Link) Cut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

// Stats returns the counts so far.
func (l *Link) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Run passes packets until ctx is done. Then it closes both devices.
func (l *Link) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for from := range l.devices {
		packets := make(chan packet, 1024)
		wg.Go(func() { l.read(ctx, from, packets) })
		wg.Go(func() { l.deliver(ctx, l.devices[1-from], packets) })
	}
	<-ctx.Done()
	for _, d := range l.devices {
		_ = d.Close()
	}
	wg.Wait()
}

// read reads a device until it is closed.
func (l *Link) read(ctx context.Context, from int, to chan<- packet) {
	buf := make([]byte, mtu)
	for {
		n, err := l.devices[from].Read(buf)
		if err != nil {
			return
		}
		arrivals := l.judge(from, buf[:n])
		if len(arrivals) == 0 {
			continue
		}
		data := append([]byte(nil), buf[:n]...)
		for _, at := range arrivals {
			select {
			case to <- packet{at, data}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// judge returns when a packet arrives.
func (l *Link) judge(from int, data []byte) []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.wall.pass(data) || l.cut {
		l.stats.Blocked++
		return nil
	}
	f := l.lanes[from].next(time.Now(), len(data))
	l.stats.add(f)
	return f.arrivals
}

func (s *Stats) add(f fate) {
	s.Passed += len(f.arrivals)
	if f.waited {
		s.Waited++
	}
	switch {
	case f.lost:
		s.Lost++
	case f.overflowed:
		s.Overflowed++
	case len(f.arrivals) > 1:
		s.Duplicated++
	}
}

// deliver hands each packet to a device when its time has come.
func (l *Link) deliver(ctx context.Context, to io.Writer, packets <-chan packet) {
	var q queue
	for {
		var due <-chan time.Time
		if q.Len() > 0 {
			due = time.After(time.Until(q.packets[0].at))
		}
		select {
		case p := <-packets:
			q.add(p)
		case <-due:
		case <-ctx.Done():
			return
		}
		for q.Len() > 0 && !q.packets[0].at.After(time.Now()) {
			p := heap.Pop(&q).(numbered) //nolint:forcetypeassert // the queue has nothing else
			l.late(time.Since(p.at))
			_, _ = to.Write(p.data) // a device that refuses a packet has lost it
		}
	}
}

func (l *Link) late(by time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Late = max(l.stats.Late, by)
}
