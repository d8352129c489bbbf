package lookup

import "time"

const (
	// fullToOpen is how many full answers in a row open the gate. A cluster has several
	// DNS servers that answer in turn and learn of a pod one after the other, so a single
	// full answer proves little.
	fullToOpen = 3
	// confirmPace is the time to the answers that confirm a full one. They decide when
	// connections may move, and there are two at most.
	confirmPace = 100 * time.Millisecond
	// firstPace is the time between all lookups in the second after a change of the wanted
	// pods: where nothing caches, DNS learns of a pod within a fraction of that, and clients
	// wait for these answers. Changes that follow one another within lull have one such second
	// in all.
	firstPace = 50 * time.Millisecond
	// firstConfirmPace is confirmPace in that second.
	firstConfirmPace = 20 * time.Millisecond
	firstFor         = time.Second
	lull             = time.Second
	// waitingPace is the time between lookups while the gate is closed. It holds for
	// promptFor: caches keep old answers for 30 s at most, so DNS is late for another reason
	// by then.
	waitingPace = 250 * time.Millisecond
	promptFor   = 30 * time.Second
	// openPace is the least time between lookups while the gate is open.
	openPace = 2 * time.Second
	// stepFraction is how the steps grow after promptFor: a thirtieth of the time for which
	// the gate has been as it is, at most longestPace. So what DNS is late by grows by a
	// thirtieth, or by longestPace.
	stepFraction = 30
	longestPace  = 10 * time.Second
)

// GateState decides when the gate is open, from the answers of DNS alone. It does no I/O,
// takes no lock and reads no clock, so a simulation can run the same code as a [Gate].
//
//	state    after a full answer       after any other answer  time to the next lookup
//	resting  stays                     stays                   none is due
//	closed   opens at the third        counts from 0 again     50 ms in the first second, 20 ms after a full
//	         in a row                                          answer; then 250 ms, 100 ms after a full
//	                                                           answer, and ever longer after 30 s
//	open     stays                     closes                  2 s, and ever longer after 1 min
//
// A full answer has every wanted pod; a lookup that failed is not one. The zero value
// rests: no pod is wanted. GateState is not safe for concurrent use.
type GateState struct {
	wanted       int
	fullInARow   int
	open         bool
	openSince    time.Time
	waitingSince time.Time
	resetAt      time.Time
	firstUntil   time.Time // when the second of firstPace is over
}

// Reset starts over for a new set of pods: the gate is closed and waits from now on. With
// no pod wanted, it rests.
func (s *GateState) Reset(wanted int, now time.Time) {
	firstUntil := s.firstUntil
	if now.Sub(s.resetAt) >= lull {
		firstUntil = now.Add(firstFor)
	}
	*s = GateState{wanted: wanted, resetAt: now, firstUntil: firstUntil}
	if wanted > 0 {
		s.waitingSince = now
	}
}

// Record applies one answer that came at now, and reports whether the gate opened or
// closed. It does nothing while the gate rests.
func (s *GateState) Record(full bool, now time.Time) (changed bool) {
	switch {
	case s.wanted == 0:
		return false
	case !full:
		return s.close(now)
	}
	s.fullInARow++
	if s.open || s.fullInARow < fullToOpen {
		return false
	}
	s.open, s.openSince, s.waitingSince = true, now, time.Time{}
	return true
}

func (s *GateState) close(now time.Time) (changed bool) {
	s.fullInARow = 0
	if !s.open {
		return false
	}
	s.open, s.openSince, s.waitingSince = false, time.Time{}, now
	return true
}

// Open reports whether connections may be moved. It is false while the gate rests.
func (s *GateState) Open() bool { return s.open }

// OpenSince is when the gate opened; zero unless it is open.
func (s *GateState) OpenSince() time.Time { return s.openSince }

// WaitingSince is when the gate closed or was reset; zero unless it is closed.
func (s *GateState) WaitingSince() time.Time { return s.waitingSince }

// FullInARow is the number of full answers since the last one that was not full.
func (s *GateState) FullInARow() int { return s.fullInARow }

// Pace is the time from an answer to the next lookup, without jitter; 0 while the gate
// rests, when no lookup is due.
func (s *GateState) Pace(now time.Time) time.Duration {
	switch {
	case s.wanted == 0:
		return 0
	case s.open:
		return max(openPace, step(now.Sub(s.openSince)))
	case now.Before(s.firstUntil) && s.fullInARow > 0:
		return firstConfirmPace
	case now.Before(s.firstUntil):
		return firstPace
	case s.fullInARow > 0:
		return confirmPace
	}
	if waited := now.Sub(s.waitingSince); waited >= promptFor {
		return step(waited)
	}
	return waitingPace
}

// step is the time between lookups once the gate has been as it is for so long.
func step(since time.Duration) time.Duration { return min(since/stepFraction, longestPace) }
