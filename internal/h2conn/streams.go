package h2conn

import "slices"

// streams is the set of streams in flight.
type streams struct {
	open   []uint32 // in ascending order, since stream IDs only rise
	opened uint64   // streams ever opened
	newest uint32   // the highest ID ever opened
	peak   uint32   // most streams in flight since there were none
}

// These bound the room that an idle connection keeps for stream IDs. It keeps as
// much as its latest RPCs needed, so that the next ones need no new array.
const (
	spareStreams = 16
	maxSpare     = 128
)

// add counts the stream if it is a new one of the client. A refused stream is not
// in flight.
func (s *streams) add(id uint32, refused bool) {
	if id%2 == 0 || id <= s.newest {
		return
	}
	s.newest = id
	s.opened++
	if !refused {
		s.open = append(s.open, id)
		s.peak = max(s.peak, uint32(len(s.open)))
	}
}

// remove removes the stream. It reports whether the stream was in flight.
func (s *streams) remove(id uint32) bool {
	i, ok := slices.BinarySearch(s.open, id)
	if !ok {
		return false
	}
	s.open = slices.Delete(s.open, i, i+1)
	s.trim()
	return true
}

// removeAbove removes the streams above id, which a GOAWAY has refused.
func (s *streams) removeAbove(id uint32) {
	i, ok := slices.BinarySearch(s.open, id)
	if ok {
		i++
	}
	s.open = s.open[:i]
	s.trim()
}

// trim frees the array once no stream is in flight. A large array goes at once. A
// smaller one goes if the last busy period used at most a quarter of it.
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
