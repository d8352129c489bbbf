package h2conn

import (
	"testing"

	"golang.org/x/net/http2"
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
	if open, _ := c.Streams(); open != 0 || c.streams.open != nil {
		t.Errorf("%d streams open, room for %d kept, want none", open, cap(c.streams.open))
	}
}

// A connection keeps room for as many streams as it needs again and again, and for no
// more.
func TestSpareStreams(t *testing.T) {
	var s streams
	next := uint32(1)
	busy := func(n int) {
		for range n {
			s.add(next, false)
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
	if cap(s.open) > spareStreams {
		t.Errorf("room for %d streams after a calm period, want at most %d", cap(s.open), spareStreams)
	}
	busy(maxSpare + 1)
	if cap(s.open) > maxSpare {
		t.Errorf("room for %d streams after a flood, want at most %d", cap(s.open), maxSpare)
	}
}
