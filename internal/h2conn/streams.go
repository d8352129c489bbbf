package h2conn

import "slices"

// streams is the set of streams in flight.
type streams struct {
	open   []uint32 // ascending: ids only rise
	opened uint64
	newest uint32 // the highest id ever opened
	peak   uint32 // most streams in flight since there were none
}

// An idle connection keeps room for as many ids as its latest RPCs needed, so
// that the next ones need no new array: within these bounds.
const (
	spareStreams = 16
	maxSpare     = 128
)

// add counts the stream if it is a new one of the client. refuse leaves it out
// of those in flight.
func (s *streams) add(id uint32, refuse bool) {
	if id%2 == 0 || id <= s.newest {
		return
	}
	s.newest = id
	s.opened++
	if !refuse {
		s.open = append(s.open, id)
		s.peak = max(s.peak, uint32(len(s.open)))
	}
}

// remove reports whether the stream was in flight.
func (s *streams) remove(id uint32) bool {
	i, ok := slices.BinarySearch(s.open, id)
	if !ok {
		return false
	}
	s.open = slices.Delete(s.open, i, i+1)
	s.trim()
	return true
}

// removeAbove removes the streams that a GOAWAY refused.
func (s *streams) removeAbove(id uint32) {
	i, ok := slices.BinarySearch(s.open, id)
	if ok {
		i++
	}
	s.open = s.open[:i]
	s.trim()
}

// trim gives the array back after a burst: a great one at once, a smaller one
// when a busy time has passed that did not need it.
func (s *streams) trim() {
	if len(s.open) > 0 {
		return
	}
	room := cap(s.open)
	if room > maxSpare || room > spareStreams && int(s.peak) <= room/4 {
		s.open = nil
	}
	s.peak = 0
}
