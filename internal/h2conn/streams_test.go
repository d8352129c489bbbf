package h2conn

import (
	"fmt"
	"maps"
	"testing"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"
)

// Nothing is kept of many streams once they have ended.
func TestHeadersFlood(t *testing.T) {
	const many = 10_000
	nc := &memConn{}
	c := New(nc, nil, nil)
	defer func() { _ = c.Close() }()
	client, server := newWire(), newWire()
	client.WriteString(http2.ClientPreface)
	_ = server.WriteSettings()
	for i := range uint32(many) {
		client.headers(2*i+1, true, true)
		_ = server.WriteRSTStream(2*i+1, http2.ErrCodeRefusedStream)
	}
	nc.in = client.take()
	buf := make([]byte, 4096)
	for len(nc.in) > 0 {
		_, _ = c.Read(buf)
	}
	if open, opened := c.Streams(); open != many || opened != many {
		t.Fatalf("%d streams open, %d ever opened, want %d each", open, opened, many)
	}
	b := server.take()
	writeSome(t, c, b, len(b))
	if open, _ := c.Streams(); open != 0 || cap(c.streams.ids) > 0 {
		t.Errorf("%d streams open, room for %d kept, want none", open, cap(c.streams.ids))
	}
}

// A connection keeps room for as many streams as it needs again and again, and for no
// more.
func TestSpareStreams(t *testing.T) {
	s := streams{limit: maxStreamID}
	next := uint32(1)
	busy := func(n int) {
		for range n {
			s.add(next)
			next += 2
		}
		for id := next - 2*uint32(n); id < next; id += 2 {
			s.remove(id)
		}
	}
	if allocs := testing.AllocsPerRun(10, func() { busy(60) }); allocs > 0 && !raceEnabled {
		t.Errorf("%v allocations for 60 streams, want 0", allocs)
	}
	busy(4)
	if cap(s.ids) > spareStreams {
		t.Errorf("room for %d streams after a calm period, want at most %d", cap(s.ids), spareStreams)
	}
	busy(maxSpare + 1)
	const many = 100_000
	first := next
	for range many {
		s.add(next)
		next += 2
	}
	for id := first; id < next-2; id += 2 { // all but the last one
		s.remove(id)
	}
	if room := cap(s.ids); room > 4*fewStreams+2*maxSpare {
		t.Errorf("room for %d streams beside one that goes on, after a flood", room)
	}
	s.remove(next - 2)
	if cap(s.ids) > maxSpare {
		t.Errorf("room for %d streams after a flood, want at most %d", cap(s.ids), maxSpare)
	}
}

// What the end of a stream costs does not depend on how many others there are.
func BenchmarkStreams(b *testing.B) {
	for _, n := range []int{1, 100, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := streams{limit: maxStreamID}
			next, oldest := uint32(1), uint32(1)
			open := func() { s.add(next); next += 2 }
			for range n {
				open()
			}
			for b.Loop() {
				if next >= maxStreamID-2 {
					b.Skip("all stream IDs are used up")
				}
				s.remove(oldest)
				oldest += 2
				open()
			}
		})
	}
}

// The set agrees with a map, whatever the order in which streams end.
func TestStreamsAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, ref, next, limit := streams{limit: maxStreamID}, map[uint32]bool{}, uint32(1), uint32(maxStreamID)
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"open", "open", "end", "end", "again", "refuse"}).Draw(t, "step") {
			case "open":
				s.add(next)
				ref[next] = next <= limit
				next += 2 * rapid.Uint32Range(1, 3).Draw(t, "gap")
			case "end":
				id := rapid.Uint32Range(0, next).Draw(t, "id")
				if got := s.remove(id); got != ref[id] {
					t.Fatalf("remove(%d) returned %t, want %t", id, got, ref[id])
				}
				delete(ref, id)
			case "again":
				s.add(rapid.Uint32Range(0, s.newest).Draw(t, "old")) // not new, so it does not count
			case "refuse":
				if rapid.IntRange(0, 9).Draw(t, "rarely") == 0 {
					last := rapid.Uint32Range(0, next+100).Draw(t, "last")
					s.refuseAbove(last)
					limit = min(limit, last)
				}
			}
			maps.DeleteFunc(ref, func(id uint32, counts bool) bool { return !counts || id > limit })
			if s.len() != len(ref) || len(s.ids) > max(2*s.len()+1, fewStreams+s.len()) {
				t.Fatalf("%d streams in %d IDs, want %d", s.len(), len(s.ids), len(ref))
			}
		}
	})
}
