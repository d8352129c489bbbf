package h2conn

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

const (
	frameHeaderLen = 9
	maxStreamID    = 1<<31 - 1
)

// event is what a frame means to a connection once all of it has passed.
type event uint8

const (
	nothing      event = iota
	streamOpened       // client HEADERS; id is the stream
	streamReset        // client RST_STREAM; id is the stream
	streamEnded        // server END_STREAM or RST_STREAM; id is the stream
	proofAcked         // client ACK of a proof PING
	holdAcked          // client ACK of a hold PING
	lastAcked          // client ACK of the PING behind the last word
	goAwayPassed       // server GOAWAY; lastID is its last stream ID
	framesLost
	firstFrame // the client's first frame, if it is none of the above
	pathRead   // client CONTINUATION that ends a header block whose path is of interest
)

// cursor finds the frames in a sequence of bytes that may be cut anywhere.
type cursor struct {
	header    [frameHeaderLen]byte // the part that has arrived, if the header is cut
	have      uint8                // bytes in header
	typ       http2.FrameType
	flags     http2.Flags
	id        uint32
	remaining uint32 // bytes of the payload still to come
}

// atBoundary reports whether the next byte begins a frame.
func (c *cursor) atBoundary() bool { return c.have == 0 && c.remaining == 0 }

// readHeader consumes the frame's header, or as much of it as p has. ok is true
// once the header is complete.
func (c *cursor) readHeader(p []byte) (rest []byte, ok bool) {
	if c.have == 0 && len(p) >= frameHeaderLen {
		c.parse(p)
		return p[frameHeaderLen:], true
	}
	n := copy(c.header[c.have:], p)
	c.have += uint8(n)
	if c.have < frameHeaderLen {
		return nil, false
	}
	c.have = 0
	c.parse(c.header[:])
	return p[n:], true
}

// readPayload consumes the frame's payload, or as much of it as p has.
func (c *cursor) readPayload(p []byte) (payload, rest []byte) {
	n := min(uint64(len(p)), uint64(c.remaining))
	c.remaining -= uint32(n)
	return p[:n], p[n:]
}

func (c *cursor) parse(h []byte) {
	_ = h[frameHeaderLen-1]
	c.remaining = uint32(h[0])<<16 | uint32(h[1])<<8 | uint32(h[2])
	c.typ = http2.FrameType(h[3])
	c.flags = http2.Flags(h[4])
	c.id = binary.BigEndian.Uint32(h[5:]) & maxStreamID
}

// inbound follows what the client sends.
type inbound struct {
	cursor
	preface    uint8   // bytes of the preface that have arrived; one more after the first frame
	got        uint8   // bytes of the PING's payload that have arrived
	candidates pingSet // those of our PINGs whose payload still matches
	over       over
	paths      *paths // nil before the first request
}

// over is why a direction of the connection is followed no more.
type over uint8

const (
	lostTrack over = iota + 1 // the bytes are no HTTP/2, and pass as they are
	lastWord                  // the Conn is closing the connection, and passes nothing on
)

// missing returns how many bytes a complete frame header still lacks. It returns
// 0 inside a payload, and once the frames are lost.
func (f *inbound) missing() int {
	switch {
	case f.remaining > 0 || f.over == lostTrack:
		return 0
	case f.preface < uint8(len(http2.ClientPreface)):
		return min(len(http2.ClientPreface)-int(f.preface), frameHeaderLen)
	}
	return frameHeaderLen - int(f.have)
}

// next consumes bytes up to the end of a frame at most. It returns the rest of p,
// and what the frame means if it has ended.
func (f *inbound) next(p []byte) ([]byte, event) {
	if f.over == lostTrack {
		return nil, nothing
	}
	if f.preface < uint8(len(http2.ClientPreface)) {
		return f.matchPreface(p)
	}
	if f.remaining == 0 {
		var ok bool
		if p, ok = f.readHeader(p); !ok {
			return nil, nothing
		}
		f.got, f.candidates = 0, f.pingCandidates()
	}
	payload, rest := f.readPayload(p)
	if f.candidates != 0 {
		f.matchPing(payload)
	}
	if f.paths != noPaths && f.over == 0 && (f.typ == http2.FrameHeaders || f.typ == http2.FrameContinuation) {
		f.readPath(payload)
	}
	if f.remaining > 0 {
		return nil, nothing
	}
	return rest, f.frameEnded()
}

// frameEnded returns what a complete frame means.
func (f *inbound) frameEnded() event {
	first := f.preface == uint8(len(http2.ClientPreface))
	if first {
		f.preface++
	}
	switch f.typ {
	case http2.FrameHeaders:
		return streamOpened
	case http2.FrameContinuation:
		if f.paths != noPaths {
			return pathRead
		}
	case http2.FrameRSTStream:
		return streamReset
	case http2.FramePing:
		if ev := f.pingEvent(); ev != nothing {
			return ev
		}
	}
	if first {
		return firstFrame
	}
	return nothing
}

// matchPreface compares p with the client's connection preface.
func (f *inbound) matchPreface(p []byte) ([]byte, event) {
	want := http2.ClientPreface[f.preface:]
	n := min(len(p), len(want))
	if string(p[:n]) != want[:n] {
		f.over = lostTrack
		return nil, framesLost
	}
	f.preface += uint8(n)
	return p[n:], nothing
}

// pingCandidates returns which of our PINGs the frame may answer, by its header.
func (f *inbound) pingCandidates() pingSet {
	if f.typ == http2.FramePing && f.remaining == uint32(len(proofPayload)) {
		return proofPing | holdPing | lastPing
	}
	return 0
}

// matchPing compares the payload with ours as it arrives, without keeping it.
func (f *inbound) matchPing(payload []byte) {
	for _, b := range payload {
		if proofPayload[f.got] != b {
			f.candidates &^= proofPing
		}
		if holdPayload[f.got] != b {
			f.candidates &^= holdPing
		}
		if lastPayload[f.got] != b {
			f.candidates &^= lastPing
		}
		f.got++
	}
}

// pingEvent returns what a complete PING means.
func (f *inbound) pingEvent() event {
	switch {
	case !f.flags.Has(http2.FlagPingAck) || f.id != 0:
		return nothing
	case f.candidates == proofPing:
		return proofAcked
	case f.candidates == holdPing:
		return holdAcked
	case f.candidates == lastPing:
		return lastAcked
	}
	return nothing
}

// outbound follows what the server writes.
type outbound struct {
	cursor
	block        uint32 // the stream whose header block is incomplete, or 0
	lastID       uint32 // the last stream ID of the GOAWAY that is passing
	got          uint8  // bytes of lastID that have passed
	settingsSent bool   // the server's SETTINGS, its first frame, has passed
	endsStream   bool   // the header block ends its stream
	over         over
}

// canInject reports whether a frame of ours may stand here.
func (f *outbound) canInject() bool {
	return f.settingsSent && f.block == 0 && f.atBoundary() && f.over == 0
}

// injectionPoint returns the first offset in p, its end included, where a frame of
// ours may stand.
func (f *outbound) injectionPoint(p []byte) (at int, ok bool) {
	probe := *f
	for rest := p; ; {
		if probe.canInject() {
			return len(p) - len(rest), true
		}
		if len(rest) == 0 {
			return 0, false
		}
		var ev event
		if rest, ev = probe.next(rest); ev == framesLost {
			return 0, false
		}
	}
}

// next consumes bytes up to the end of a frame at most. It returns the rest of p,
// and what the frame means if it has ended.
func (f *outbound) next(p []byte) ([]byte, event) {
	if f.over != 0 {
		return nil, nothing
	}
	if f.remaining == 0 {
		var ok bool
		if p, ok = f.readHeader(p); !ok {
			return nil, nothing
		}
		if !f.legal() {
			f.over = lostTrack
			return nil, framesLost
		}
		f.lastID, f.got = 0, 0
	}
	payload, rest := f.readPayload(p)
	if f.typ == http2.FrameGoAway {
		f.readLastID(payload)
	}
	if f.remaining > 0 {
		return nil, nothing
	}
	return rest, f.frameEnded()
}

// readLastID takes the last stream ID from the payload of a GOAWAY.
func (f *outbound) readLastID(payload []byte) {
	for _, b := range payload {
		if f.got == 4 {
			return
		}
		f.lastID = f.lastID<<8 | uint32(b)
		f.got++
	}
}

// frameEnded returns what a complete frame means.
func (f *outbound) frameEnded() event {
	f.settingsSent = true
	switch f.typ {
	case http2.FrameData:
		return endedIf(f.flags.Has(http2.FlagDataEndStream))
	case http2.FrameHeaders, http2.FramePushPromise:
		f.block = f.id
		f.endsStream = f.typ == http2.FrameHeaders && f.flags.Has(http2.FlagHeadersEndStream)
		return f.endBlock()
	case http2.FrameContinuation:
		return f.endBlock()
	case http2.FrameRSTStream:
		return streamEnded
	case http2.FrameGoAway:
		f.lastID &= maxStreamID
		return goAwayPassed
	}
	return nothing
}

// endBlock ends the header block if the frame carries END_HEADERS. That flag has
// the same value on all three types of frame.
func (f *outbound) endBlock() event {
	if !f.flags.Has(http2.FlagHeadersEndHeaders) {
		return nothing
	}
	f.block = 0
	return endedIf(f.endsStream)
}

func endedIf(yes bool) event {
	if yes {
		return streamEnded
	}
	return nothing
}

// legal reports whether a server can write such a frame here. It checks the order
// of frames (RFC 9113, sections 3.4 and 6.10), and their lengths and streams
// (section 6). What it rejects is either not HTTP/2 or not the start of a frame.
func (f *outbound) legal() bool {
	if !f.settingsSent && (f.typ != http2.FrameSettings || f.flags.Has(http2.FlagSettingsAck)) {
		return false
	}
	if f.block != 0 && (f.typ != http2.FrameContinuation || f.id != f.block) {
		return false
	}
	switch f.typ {
	case http2.FrameContinuation:
		return f.block != 0
	case http2.FrameData, http2.FrameHeaders:
		return f.id != 0
	case http2.FramePushPromise:
		return f.id != 0 && f.remaining >= 4
	case http2.FramePriority:
		return f.id != 0 && f.remaining == 5
	case http2.FrameRSTStream:
		return f.id != 0 && f.remaining == 4
	case http2.FrameWindowUpdate:
		return f.remaining == 4
	case http2.FrameSettings:
		return f.id == 0 && f.remaining%6 == 0
	case http2.FramePing:
		return f.id == 0 && f.remaining == 8
	case http2.FrameGoAway:
		return f.id == 0 && f.remaining >= 8
	}
	return true // receivers ignore unknown types
}
