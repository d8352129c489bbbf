package h2conn

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// Most frames mean nothing to a connection: DATA, WINDOW_UPDATE, and the PINGs that grpc-go
// measures the bandwidth with. The skipPlain functions recognize them by their headers alone.
// They skip such a frame only if all of it is in p. Then nothing of it would be left in the
// state that next keeps, so that a frame is followed the same whichever of the two sees it.

// plainTypes are the types of these frames.
const plainTypes = 1<<http2.FrameData | 1<<http2.FrameWindowUpdate | 1<<http2.FramePing

// mayBePlain reports whether it is worth calling skipPlain. HEADERS then cost hardly more than
// without the fast path.
func mayBePlain(p []byte) bool { return len(p) >= frameHeaderLen && plainTypes>>p[3]&1 != 0 }

// wholeFrame returns the length of the frame at the start of p, 0 if a part of it is missing.
func wholeFrame(p []byte) int {
	if len(p) < frameHeaderLen {
		return 0
	}
	n := frameHeaderLen + (int(p[0])<<16 | int(p[1])<<8 | int(p[2]))
	if n > len(p) {
		return 0
	}
	return n
}

// skipPlain returns p without the whole frames at its start that mean nothing. A client's
// END_STREAM means nothing, since the stream stays in flight until the server has ended it. All
// PINGs go to next: they may answer one of ours.
func (f *inbound) skipPlain(p []byte) []byte {
	if f.preface <= uint8(len(http2.ClientPreface)) || !f.atBoundary() {
		return p
	}
	for n := wholeFrame(p); n > 0; n = wholeFrame(p) {
		if t := http2.FrameType(p[3]); t != http2.FrameData && t != http2.FrameWindowUpdate {
			break
		}
		p = p[n:]
	}
	return p
}

// skipPlain returns p without the whole frames at its start that mean nothing. What is no legal
// frame goes to next, which loses the track there.
func (f *outbound) skipPlain(p []byte) []byte {
	if !f.canInject() {
		return p
	}
	for n := wholeFrame(p); n > 0 && isPlain(p, n); n = wholeFrame(p) {
		p = p[n:]
	}
	return p
}

// isPlain reports whether the frame at the start of p, of n bytes, is a legal one of a server
// that means nothing.
func isPlain(p []byte, n int) bool {
	id := binary.BigEndian.Uint32(p[5:]) & maxStreamID
	switch http2.FrameType(p[3]) {
	case http2.FrameData:
		return id != 0 && !http2.Flags(p[4]).Has(http2.FlagDataEndStream)
	case http2.FrameWindowUpdate:
		return n == frameHeaderLen+4
	case http2.FramePing:
		return id == 0 && n == frameHeaderLen+8
	}
	return false
}
