package h2conn

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/net/http2"
)

// rawFrame is a frame as the reference parser sees it.
type rawFrame struct {
	typ, flags byte
	id         uint32
	payload    []byte
	start, end int // its offsets in all bytes
}

// parseRaw is the reference for cursor. It has all bytes at once, so it needs no state.
// rest is the incomplete frame at the end; announced reports whether rest has a complete
// header.
func parseRaw(b []byte) (frames []rawFrame, rest rawFrame, announced bool) {
	at := 0
	for len(b)-at >= 9 {
		length := int(binary.BigEndian.Uint32(append([]byte{0}, b[at:at+3]...)))
		f := rawFrame{
			typ: b[at+3], flags: b[at+4],
			id:    binary.BigEndian.Uint32(b[at+5:]) &^ (1 << 31),
			start: at, end: at + 9 + length,
		}
		if f.end > len(b) {
			return frames, f, true
		}
		f.payload = b[at+9 : f.end]
		frames = append(frames, f)
		at = f.end
	}
	return frames, rawFrame{start: at, end: len(b)}, false
}

func (f rawFrame) has(flag http2.Flags) bool { return f.flags&byte(flag) != 0 }
func (f rawFrame) is(t http2.FrameType) bool { return f.typ == byte(t) }

// effect is what a frame does to the reference model once its last byte, before offset
// end, has passed.
type effect struct {
	end  int
	what event
	id   uint32
}

// clientEffects is the reference for inbound. If the preface is wrong, ok is false and
// there are no effects.
func clientEffects(b []byte) (effects []effect, ok bool) {
	const n = len(http2.ClientPreface)
	if len(b) < n {
		return nil, bytes.HasPrefix([]byte(http2.ClientPreface), b)
	}
	if string(b[:n]) != http2.ClientPreface {
		return nil, false
	}
	frames, _, _ := parseRaw(b[n:])
	for _, f := range frames {
		e := effect{end: n + f.end, id: f.id}
		switch {
		case f.is(http2.FrameHeaders):
			e.what = streamOpened
		case f.is(http2.FrameRSTStream):
			e.what = streamReset
		case f.is(http2.FramePing) && f.has(http2.FlagPingAck) && f.id == 0 && string(f.payload) == "evenkeel":
			e.what = proofAcked
		case f.is(http2.FramePing) && f.has(http2.FlagPingAck) && f.id == 0 && string(f.payload) == "evenhold":
			e.what = holdAcked
		default:
			continue
		}
		effects = append(effects, e)
	}
	return effects, true
}

// serverState is the reference for the order of frames that outbound accepts.
type serverState struct {
	first bool
	block uint32
	fin   bool
}

// serverEffects is the reference for outbound. lostAt is the offset at which the header
// of an illegal frame is complete, or -1.
func serverEffects(b []byte) (effects []effect, lostAt int) {
	frames, rest, announced := parseRaw(b)
	if announced {
		frames = append(frames, rest)
	}
	st := serverState{first: true}
	for _, f := range frames {
		if !st.legal(f) {
			return effects, f.start + 9
		}
		if f.end > len(b) {
			break
		}
		if e := st.effect(f); e.what != nothing {
			effects = append(effects, e)
		}
	}
	return effects, -1
}

// fixedLength holds the payload lengths that RFC 9113, section 6, fixes.
var fixedLength = map[http2.FrameType]int{
	http2.FramePriority: 5, http2.FrameRSTStream: 4, http2.FramePing: 8, http2.FrameWindowUpdate: 4,
}

func (st *serverState) legal(f rawFrame) bool {
	length := f.end - f.start - 9
	t := http2.FrameType(f.typ)
	if want, fixed := fixedLength[t]; fixed && length != want {
		return false
	}
	onConn := t == http2.FrameSettings || t == http2.FramePing || t == http2.FrameGoAway
	onStream := t <= http2.FrameContinuation && !onConn && t != http2.FrameWindowUpdate
	if (onConn && f.id != 0) || (onStream && f.id == 0) {
		return false
	}
	if (t == http2.FrameSettings && length%6 != 0) || (t == http2.FrameGoAway && length < 8) ||
		(t == http2.FramePushPromise && length < 4) {
		return false
	}
	if st.first && (t != http2.FrameSettings || f.has(http2.FlagSettingsAck)) {
		return false
	}
	if inBlock := st.block != 0; inBlock != (t == http2.FrameContinuation) {
		return false
	}
	return st.block == 0 || f.id == st.block
}

func (st *serverState) effect(f rawFrame) effect {
	st.first = false
	none, ended := effect{}, effect{f.end, streamEnded, f.id}
	switch http2.FrameType(f.typ) {
	case http2.FrameData:
		if f.has(http2.FlagDataEndStream) {
			return ended
		}
	case http2.FrameRSTStream:
		return ended
	case http2.FrameGoAway:
		return effect{f.end, goAwayPassed, binary.BigEndian.Uint32(f.payload) &^ (1 << 31)}
	case http2.FrameHeaders, http2.FramePushPromise:
		st.block, st.fin = f.id, f.is(http2.FrameHeaders) && f.has(http2.FlagHeadersEndStream)
		fallthrough
	case http2.FrameContinuation:
		if !f.has(http2.FlagHeadersEndHeaders) {
			return none
		}
		st.block = 0
		if st.fin {
			return ended
		}
	}
	return none
}

// refStreams is the reference for streams.
type refStreams struct {
	open   map[uint32]bool
	newest uint32
	opened uint64
	limit  uint32
}

func newRefStreams() *refStreams {
	return &refStreams{open: map[uint32]bool{}, limit: maxStreamID}
}

func (r *refStreams) apply(e effect) {
	switch e.what {
	case streamOpened:
		if e.id%2 == 1 && e.id > r.newest {
			r.newest = e.id
			r.opened++
			r.open[e.id] = e.id <= r.limit
		}
	case streamReset, streamEnded:
		delete(r.open, e.id)
	case goAwayPassed:
		r.limit = min(r.limit, e.id)
	}
	for id, counts := range r.open {
		if !counts || id > r.limit {
			delete(r.open, id)
		}
	}
}

// pass applies the effects whose last byte has passed, and returns the others.
func (r *refStreams) pass(effects []effect, passed int) []effect {
	for len(effects) > 0 && effects[0].end <= passed {
		r.apply(effects[0])
		effects = effects[1:]
	}
	return effects
}

func (r *refStreams) compare(t tb, c *Conn) {
	t.Helper()
	if open, opened := c.Streams(); open != len(r.open) || opened != r.opened {
		t.Fatalf("%d streams open, %d ever opened; the reference has %d and %d", open, opened, len(r.open), r.opened)
	}
}

// injectedAt finds our frames in wire, which the client got; server is what the server
// wrote. It checks that our frames stand between frames, outside header blocks, after
// SETTINGS and before any other GOAWAY, all together and only once. It returns their
// offset, or -1 if there are none, and whether the hold PING is the first of them.
func injectedAt(t tb, wire, server []byte, debug string) (at int, held bool) {
	t.Helper()
	if bytes.Equal(wire, server) {
		return -1, false
	}
	w := newWire()
	_ = w.WritePing(false, holdData)
	ping := w.Len()
	_ = w.WriteGoAway(maxStreamID, http2.ErrCodeNo, []byte(debug))
	_ = w.WritePing(false, proofData)
	ours := w.take()
	same := 0
	for same < len(server) && same < len(wire) && wire[same] == server[same] {
		same++
	}
	// The common part may reach into our frames, so they may begin before its end. If
	// the server writes such frames itself, there is more than one reading.
	why := "bytes were changed"
	for at := same; at >= 0; at-- {
		held := bytes.HasPrefix(wire[at:], ours)
		with := ours
		if !held {
			with = ours[ping:]
		}
		if !bytes.HasPrefix(wire[at:], with) || !bytes.Equal(wire[at+len(with):], server[at:]) {
			continue
		}
		if why = misplaced(server[:at]); why == "" {
			return at, held
		}
	}
	t.Fatalf("%s: client got\n%q, server wrote\n%q", why, wire, server)
	return -1, false
}

// misplaced returns why our frames must not stand after these bytes, or "".
func misplaced(before []byte) string {
	frames, rest, _ := parseRaw(before)
	if rest.start != rest.end {
		return "in the middle of a frame"
	}
	if len(frames) == 0 || !frames[0].is(http2.FrameSettings) {
		return "before SETTINGS"
	}
	for _, f := range frames {
		if f.is(http2.FrameGoAway) {
			return "after another GOAWAY"
		}
	}
	if !endsOutsideBlock(frames[len(frames)-1]) {
		return "in a header block"
	}
	return ""
}

func endsOutsideBlock(f rawFrame) bool {
	block := f.is(http2.FrameHeaders) || f.is(http2.FrameContinuation) || f.is(http2.FramePushPromise)
	return !block || f.has(http2.FlagHeadersEndHeaders)
}

// firstGap returns the first offset at or after from where our frames may stand, or -1 if
// there is none.
func firstGap(server []byte, from int) int {
	_, lostAt := serverEffects(server)
	frames, _, _ := parseRaw(server)
	for _, f := range frames {
		if f.is(http2.FrameGoAway) || lostAt >= 0 && f.start+9 >= lostAt {
			return -1
		}
		if f.end >= from && endsOutsideBlock(f) {
			return f.end
		}
	}
	return -1
}
