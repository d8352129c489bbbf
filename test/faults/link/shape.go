package link

import (
	"math/rand/v2"
	"time"
)

// Shape is what a link does to the packets of one direction. The zero value does nothing.
type Shape struct {
	// Delay is how long a packet travels. It differs by up to Jitter from one packet to the
	// next, so that packets overtake each other.
	Delay, Jitter time.Duration
	// Loss and Duplicate are the parts of the packets that are lost and that arrive twice,
	// from 0 to 1.
	Loss, Duplicate float64
	// Rate is the bandwidth in bits per second. 0 means no limit.
	Rate int
	// Queue is how many bytes may wait for the bandwidth; further packets are lost. 0 means
	// 64 KiB.
	Queue int
}

// defaultQueue is that of a small home router.
const defaultQueue = 64 << 10

// fate is what becomes of one packet.
type fate struct {
	// arrivals are when it arrives: never, once or twice.
	arrivals []time.Time
	// waited is set if it had to wait for the bandwidth, overflowed if too many waited already,
	// and lost if chance took it.
	waited, overflowed, lost bool
}

// lane is one direction of a link.
type lane struct {
	shape Shape
	rng   *rand.Rand
	free  time.Time // when the packets that have come so far will have left the queue
}

// next decides the fate of a packet that comes at now.
func (l *lane) next(now time.Time, size int) fate {
	f := fate{waited: l.shape.Rate > 0 && l.free.After(now)}
	sent, fits := l.enqueue(now, size)
	if !fits {
		f.overflowed = true
		return f
	}
	if l.rng.Float64() < l.shape.Loss {
		f.lost = true // it was sent, so it has cost bandwidth
		return f
	}
	f.arrivals = []time.Time{l.arrival(sent)}
	if l.rng.Float64() < l.shape.Duplicate {
		f.arrivals = append(f.arrivals, l.arrival(sent))
	}
	return f
}

// enqueue returns when the packet will have been sent, and whether the queue has room for it.
func (l *lane) enqueue(now time.Time, size int) (sent time.Time, fits bool) {
	if l.shape.Rate == 0 {
		return now, true
	}
	start := now
	if l.free.After(now) {
		start = l.free
	}
	queue := l.shape.Queue
	if queue == 0 {
		queue = defaultQueue
	}
	if start.Sub(now) > l.takes(queue) {
		return now, false
	}
	l.free = start.Add(l.takes(size))
	return l.free, true
}

// takes returns how long it takes to send bytes.
func (l *lane) takes(bytes int) time.Duration {
	return time.Duration(float64(bytes) * 8 / float64(l.shape.Rate) * float64(time.Second))
}

func (l *lane) arrival(sent time.Time) time.Time {
	jitter := (2*l.rng.Float64() - 1) * float64(l.shape.Jitter)
	return sent.Add(max(0, l.shape.Delay+time.Duration(jitter)))
}
