package h2conn

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"
)

// follower is one direction of a connection.
type follower interface {
	next(p []byte) ([]byte, event)
	skipPlain(p []byte) []byte
}

// passed is an event with what the connection reads from the follower at that moment.
type passed struct {
	at   int // the offset behind the frame
	what event
	id   uint32
	last uint32 // of a GOAWAY
	path string // of the request that the client has begun
}

// followed returns the events of b, which passes f in pieces of the lengths that cut returns,
// and what the connection reads from f after each piece.
func followed(f follower, b []byte, cut cutter, fast bool) (events []passed, after []string) {
	for at := 0; at < len(b); {
		p := b[at:min(len(b), at+cut.next())]
		at += len(p)
		for len(p) > 0 {
			if fast && mayBePlain(p) {
				if p = f.skipPlain(p); len(p) == 0 {
					break
				}
			}
			var ev event
			if p, ev = f.next(p); ev != nothing {
				events = append(events, eventOf(f, at-len(p), ev))
			}
		}
		after = append(after, stateOf(f))
	}
	return events, after
}

func eventOf(f follower, at int, ev event) passed {
	if ev == framesLost {
		return passed{what: ev} // wherever the piece ends
	}
	e := passed{at: at, what: ev}
	switch f := f.(type) {
	case *inbound:
		e.id = f.id
		if f.paths != nil {
			e.path = fmt.Sprint(f.paths.path, f.paths.read, f.paths.bad)
			f.paths.read = false
		}
	case *outbound:
		e.id, e.last = f.id, f.lastID
	}
	return e
}

// stateOf describes what counts between two pieces. What a follower keeps of a frame that is
// over counts for nothing.
func stateOf(f follower) string {
	cursorOf := func(c cursor) cursor {
		if c.have == 0 {
			c.header = [frameHeaderLen]byte{}
		}
		if c.remaining == 0 {
			c.typ, c.flags, c.id = 0, 0, 0
		}
		return c
	}
	switch f := f.(type) {
	case *inbound:
		s := *f
		if s.cursor = cursorOf(s.cursor); s.remaining == 0 {
			s.got, s.candidates = 0, 0
		}
		return fmt.Sprint(s.cursor, s.preface, s.got, s.candidates, s.over, s.missing())
	case *outbound:
		s := *f
		if s.cursor = cursorOf(s.cursor); s.remaining == 0 {
			s.got, s.lastID = 0, 0
		}
		at, ok := f.injectionPoint([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0})
		return fmt.Sprint(s.cursor, s.block, s.lastID, s.got, s.settingsSent, s.endsStream && s.block != 0, s.over, s.canInject(), at, ok)
	}
	return ""
}

// checkPlain compares the events of b with and without the fast path, in the same pieces and
// in other ones.
func checkPlain(t tb, newFollower func() follower, b, cuts []byte) {
	t.Helper()
	fast, fastStates := followed(newFollower(), b, cutter{cuts: cuts}, true)
	slow, slowStates := followed(newFollower(), b, cutter{cuts: cuts}, false)
	if !slices.Equal(fast, slow) {
		t.Fatalf("%q in pieces of %v:\n%v with the fast path,\n%v without", b, cuts, fast, slow)
	}
	if !slices.Equal(fastStates, slowStates) {
		t.Fatalf("%q in pieces of %v: the states are\n%q with the fast path,\n%q without", b, cuts, fastStates, slowStates)
	}
	if whole, _ := followed(newFollower(), b, cutter{}, true); !slices.Equal(whole, slow) {
		t.Fatalf("%q: %v at once, %v in pieces of %v", b, whole, slow, cuts)
	}
}

func newInbound() follower  { return &inbound{} }
func newOutbound() follower { return &outbound{} }

// withoutPaths is the follower of a client that has sent a request which is no health check.
func withoutPaths() follower { return &inbound{paths: noPaths} }

// closing is the follower of a connection whose last word has been written.
func closing() follower { return &inbound{over: lastWord} }

// Whatever bytes pass, in whatever pieces, the fast path changes no event.
func TestFastPathChangesNoEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		s := &script{wire: newWire(), draw: draw}
		client, server := s.client(), s.server()
		cuts := rapid.SliceOf(rapid.Byte()).Draw(t, "cuts")
		for range draw(3) { // a damaged byte
			client[draw(len(client))] = rapid.Byte().Draw(t, "byte")
			server[draw(len(server))] = rapid.Byte().Draw(t, "byte")
		}
		for _, f := range []func() follower{newInbound, withoutPaths, closing} {
			checkPlain(t, f, client, cuts)
		}
		checkPlain(t, newOutbound, server, cuts)
	})
}

// FuzzFastPath lets any bytes pass, cut anywhere, in either direction.
func FuzzFastPath(f *testing.F) {
	for _, seed := range slices.Concat(clientSeeds(), serverSeeds(), almostPlain()) {
		f.Add(seed, []byte{})
		f.Add(seed, []byte{0})
		f.Add(seed, []byte{8, 3, 23})
	}
	f.Fuzz(func(t *testing.T, b, cuts []byte) {
		for _, follower := range []func() follower{newInbound, withoutPaths, closing, newOutbound} {
			checkPlain(t, follower, b, cuts)
		}
	})
}

// almostPlain returns bytes with frames that would mean nothing in another place or of another
// length.
func almostPlain() (seeds [][]byte) {
	data := func(w *wire) { _ = w.WriteData(1, false, []byte("data")) }
	for _, write := range []func(w *wire){
		data,
		func(w *wire) { _ = w.WriteWindowUpdate(1, 1) },
		func(w *wire) { _ = w.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 5)) },
		func(w *wire) { _ = w.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8)) },
		func(w *wire) { _ = w.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 9)) },
		func(w *wire) { _ = w.WriteData(0, false, nil) },
		func(w *wire) { w.headers(1, false, false); data(w); _ = w.WriteContinuation(1, true, nil) },
	} {
		w := newWire()
		write(w) // as the first frame of the server
		seeds = append(seeds, w.take())
		_ = w.WriteSettings()
		write(w)
		data(w)
		seeds = append(seeds, w.take())
		w.WriteString(http2.ClientPreface)
		write(w)
		w.headers(1, true, false)
		seeds = append(seeds, w.take())
	}
	return seeds
}
