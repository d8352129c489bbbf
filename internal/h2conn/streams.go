package h2conn

import "slices"

// streams is the set of streams in flight.
type streams struct {
	open   []uint32 // ascending: ids only rise
	newest uint32   // the highest id ever opened
	opened uint64
}

// spareStreams is how many ids an idle connection keeps room for, so that the
// next few RPCs need no new array.
const spareStreams = 16

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

// trim gives the array back after a burst.
func (s *streams) trim() {
	if len(s.open) == 0 && cap(s.open) > spareStreams {
		s.open = nil
	}
}
