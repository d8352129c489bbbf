package h2conn

import (
	"cmp"
	"slices"
)

// streams is the set of streams in flight.
type streams struct {
	ids    []uint32 // in ascending order, since stream IDs only rise; those with hasEnded are gone
	ended  uint32   // number of ids with hasEnded
	opened uint32   // streams ever opened: a connection cannot have more than 2^30
	newest uint32   // the highest ID ever opened
	limit  uint32   // the lowest stream ID of all GOAWAYs; streams above it are refused
}

// hasEnded marks a stream that has ended. Its ID stays among ids for a while, since
// taking it out would shift all IDs behind it: with 100,000 streams in flight that costs
// more than the RPC.
const hasEnded = 1 << 31

const (
	// fewStreams is how many streams may have ended before ids is tidied up.
	fewStreams = 32
	// An idle connection keeps room for as many stream IDs as its latest RPCs needed, so
	// that the next ones need no new array. These bound it.
	spareStreams = 16
	maxSpare     = 128
)

// len returns how many streams are in flight.
func (s *streams) len() int { return len(s.ids) - int(s.ended) }

// add counts the stream if it is a new one of the client. A refused stream is not
// in flight.
func (s *streams) add(id uint32) {
	if id%2 == 0 || id <= s.newest {
		return
	}
	s.newest = id
	s.opened++
	if id <= s.limit {
		s.ids = append(s.ids, id)
	}
}

// remove removes the stream. It reports whether the stream was in flight.
func (s *streams) remove(id uint32) bool {
	i, ok := s.find(id)
	if !ok || s.ids[i]&hasEnded != 0 {
		return false
	}
	s.ids[i] |= hasEnded
	s.ended++
	s.tidy()
	return true
}

// find returns where the stream is among ids, or would be.
func (s *streams) find(id uint32) (int, bool) {
	return slices.BinarySearchFunc(s.ids, id, func(have, id uint32) int { return cmp.Compare(have&^hasEnded, id) })
}

// refuseAbove handles a GOAWAY, which refuses the streams above its last stream ID.
func (s *streams) refuseAbove(last uint32) {
	s.limit = min(s.limit, last)
	i, ok := s.find(s.limit)
	if ok {
		i++
	}
	for _, id := range s.ids[i:] {
		if id&hasEnded != 0 {
			s.ended--
		}
	}
	s.ids = s.ids[:i]
	s.tidy()
}

// tidy frees room. While streams are in flight, at least half of the IDs are of these, and the
// array has room for four times as many. Once none is in flight, a large array goes at once. A
// smaller one goes if at most a quarter of it was needed.
func (s *streams) tidy() {
	switch ended := int(s.ended); {
	case ended == len(s.ids):
		if room := cap(s.ids); room > maxSpare || room > spareStreams && ended <= room/4 {
			s.ids = nil
		}
		s.ids, s.ended = s.ids[:0], 0
	case ended >= fewStreams && ended > len(s.ids)/2:
		s.ids = slices.DeleteFunc(s.ids, func(id uint32) bool { return id&hasEnded != 0 })
		s.ended = 0
		if cap(s.ids) > 4*len(s.ids)+maxSpare {
			s.ids = slices.Clone(s.ids)
		}
	}
}
