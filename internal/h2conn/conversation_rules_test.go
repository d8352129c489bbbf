package h2conn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// transcript is what the two ends of a connection have seen of a conversation that is over.
type transcript struct {
	out  []rawFrame // the whole frames that the client got, or could have
	rest int        // bytes of an incomplete frame after them

	sent, reset, executed []uint32 // stream IDs
	pings                 byte     // the client's PINGs
	serverIn, serverOut   []byte   // what the server has read, and what Write has accepted
	clientSent            []byte   // what the client has sent, or tried to

	// broke means that something else than the Conn ended the connection: a reset, a
	// deadline, the client or the server.
	broke      bool
	serverLeft bool // the server has sent a GOAWAY of its own
	how        How
	half       bool // the link can be half-closed
	full       bool // the client had as much to read as fits when the link was closed

	proofs          int       // how many were acknowledged
	ended, acked    time.Time // the last end of a stream, the last ACK of a proof
	shut, closed    time.Time // when the Conn half-closed and closed the link
	drained         bool
	grace           time.Duration
	drainedAt, last time.Time // last is when the client closed, or the conversation's end
}

// finalID returns the last-stream-id of the last GOAWAY. Without one, all streams count as
// processed.
func (t *transcript) finalID() uint32 {
	id := uint32(maxStreamID)
	for _, f := range t.goAways() {
		id = lastID(f)
	}
	return id
}

func lastID(f rawFrame) uint32 { return binary.BigEndian.Uint32(f.payload) &^ (1 << 31) }

func (t *transcript) goAways() (all []rawFrame) {
	for _, f := range t.out {
		if f.is(http2.FrameGoAway) {
			all = append(all, f)
		}
	}
	return all
}

// written reports whether the Conn itself has written the frame.
func written(f rawFrame) bool {
	switch {
	case f.is(http2.FramePing) && !f.has(http2.FlagPingAck):
		return slices.Contains([]string{proofPayload, holdPayload, lastPayload}, string(f.payload))
	case f.is(http2.FrameGoAway):
		return !bytes.HasSuffix(f.payload, []byte("stopping"))
	}
	return false
}

// closedByConn reports whether the Conn closed the connection because it was drained.
func (t *transcript) closedByConn() bool { return t.drained && t.how == Clean && !t.broke }

// stuck reports whether the client stopped reading, so that the Conn's last word could not
// be written as a whole. The Conn closes the link nevertheless, as if it had waited for EOF.
func (t *transcript) stuck() bool {
	said := func(f rawFrame) bool { return f.is(http2.FramePing) && string(f.payload) == lastPayload }
	return t.closedByConn() && t.full && t.shut.IsZero() && !slices.ContainsFunc(t.out, said)
}

// left returns when the Conn stopped waiting for the client to close.
func (t *transcript) left() time.Time {
	switch {
	case t.stuck():
		return t.closed.Add(-wantEOFWait)
	case t.half:
		return t.shut
	}
	return t.closed
}

// rules are what a strict client may expect of a server of RFC 9113, and what evenkeel
// promises beyond it. Each is checked after each conversation.
var rules = []struct {
	section string // of RFC 9113; or a page of docs/design
	text    string
	check   func(*transcript) error
}{
	{"3.4", "the server's first frame is SETTINGS, and no ACK", func(t *transcript) error {
		if len(t.out) > 0 && (!t.out[0].is(http2.FrameSettings) || t.out[0].has(http2.FlagSettingsAck)) {
			return fmt.Errorf("the first frame is %v", t.out[0])
		}
		return nil
	}},
	{"4.1", "the client gets whole frames of legal lengths", func(t *transcript) error {
		if t.rest > 0 && !t.broke && !t.stuck() {
			return fmt.Errorf("%d bytes of a frame are the last ones", t.rest)
		}
		for _, f := range t.out {
			if want, fixed := fixedLength[http2.FrameType(f.typ)]; f.typ > 9 || fixed && len(f.payload) != want {
				return fmt.Errorf("%v is no frame of this server", f)
			}
		}
		return nil
	}},
	{"4.3", "nothing stands between the frames of a header block", checkBlocks},
	{"5.1", "streams have frames only between the client's HEADERS and their end", checkStreams},
	{"6.7", "PINGs are answered in order, with their own data", checkPings},
	{"6.8", "GOAWAYs are on stream 0 and say NO_ERROR", func(t *transcript) error {
		for _, f := range t.goAways() {
			if f.id != 0 || len(f.payload) < 8 || binary.BigEndian.Uint32(f.payload[4:]) != 0 {
				return fmt.Errorf("got %v", f)
			}
		}
		return nil
	}},
	{"6.8", "the last-stream-id never rises", func(t *transcript) error {
		id := uint32(maxStreamID)
		for _, f := range t.goAways() {
			if lastID(f) > id {
				return fmt.Errorf("%d follows %d", lastID(f), id)
			}
			id = lastID(f)
		}
		return nil
	}},
	{"6.8", "each stream up to the final last-stream-id gets its whole answer", checkAnswers},
	{"8.7", "no stream above the final last-stream-id is processed", func(t *transcript) error {
		for _, id := range t.executed {
			if last := t.finalID(); id > last && !t.broke {
				return fmt.Errorf("stream %d was executed, last-stream-id is %d", id, last)
			}
		}
		return nil
	}},
	{"wire.md", "nothing that the server writes is changed", checkPassed},
	{"wire.md", "nothing that the client sends is changed", func(t *transcript) error {
		if !bytes.HasPrefix(t.clientSent, t.serverIn) {
			return fmt.Errorf("the client sent %q, the server got %q", t.clientSent, t.serverIn)
		}
		return nil
	}},
	{"wire.md", "an idle connection is left to its client for the linger, after the proof and the last stream", checkLinger},
	{"wire.md", "the client has proved that it has read the last end of a stream", checkProof},
	{"wire.md", "the half-close comes first, and the client has 5 s more to close", checkEOFWait},
	{"wire.md", "a drained connection is closed in the end", func(t *transcript) error {
		if t.drained && !t.broke && !t.serverLeft && t.closed.IsZero() {
			return fmt.Errorf("it is still open %v after Drain", t.last.Sub(t.drainedAt))
		}
		return nil
	}},
	{"wire.md", "streams are cut off only at the end of the grace", func(t *transcript) error {
		if t.how == Forced && (t.grace == 0 || t.closed.Sub(t.drainedAt) < t.grace) {
			return fmt.Errorf("forced %v after Drain, grace %v", t.closed.Sub(t.drainedAt), t.grace)
		}
		return nil
	}},
}

// checkPassed lets frames be missing after the last word: those of streams that the client
// has canceled, and those of the connection, such as ACKs of PINGs that came too late.
func checkPassed(t *transcript) error {
	var got []byte
	for _, f := range t.out {
		if !written(f) {
			got = append(got, f.bytes()...)
		}
	}
	if !bytes.HasPrefix(t.serverOut, got) {
		return fmt.Errorf("the server wrote %q, the client got %q", t.serverOut, got)
	}
	missing, rest, _ := parseRaw(t.serverOut[len(got):])
	due := func(f rawFrame) bool { return f.id != 0 && !slices.Contains(t.reset, f.id) }
	if t.broke || t.closedByConn() && !slices.ContainsFunc(missing, due) {
		return nil
	}
	if len(missing) > 0 || rest.start != rest.end {
		return fmt.Errorf("the client did not get %v and %d more bytes", missing, rest.end-rest.start)
	}
	return nil
}

func checkBlocks(t *transcript) error {
	block := uint32(0)
	for _, f := range t.out {
		if (block != 0) != f.is(http2.FrameContinuation) || block != 0 && f.id != block {
			return fmt.Errorf("%v in the header block of stream %d", f, block)
		}
		if f.is(http2.FrameHeaders) || f.is(http2.FrameContinuation) {
			block = 0
			if !f.has(http2.FlagHeadersEndHeaders) {
				block = f.id
			}
		}
	}
	return nil
}

func checkStreams(t *transcript) error {
	over := map[uint32]bool{}
	for _, f := range t.out {
		if f.id == 0 {
			continue
		}
		if !slices.Contains(t.sent, f.id) || over[f.id] {
			return fmt.Errorf("%v on a stream that is idle or closed", f)
		}
		over[f.id] = f.ends()
	}
	return nil
}

// ends reports whether the frame ends its stream on the server's side. No answer of these
// tests ends with a CONTINUATION.
func (f rawFrame) ends() bool {
	return f.is(http2.FrameRSTStream) || (f.is(http2.FrameHeaders) || f.is(http2.FrameData)) && f.has(http2.FlagDataEndStream)
}

func checkPings(t *transcript) error {
	want := byte(0)
	for _, f := range t.out {
		if !f.is(http2.FramePing) || !f.has(http2.FlagPingAck) {
			continue
		}
		if want++; [8]byte(f.payload) != [8]byte{want} || want > t.pings {
			return fmt.Errorf("%v is the answer number %d of %d PINGs", f, want, t.pings)
		}
	}
	return nil
}

func checkAnswers(t *transcript) error {
	if t.broke || t.stuck() {
		return nil
	}
	var answered []uint32
	for _, f := range t.out {
		if f.ends() {
			answered = append(answered, f.id)
		}
	}
	for _, id := range t.sent {
		if id <= t.finalID() && !slices.Contains(answered, id) && !slices.Contains(t.reset, id) {
			return fmt.Errorf("stream %d has no answer, last-stream-id is %d; executed: %t", id, t.finalID(), slices.Contains(t.executed, id))
		}
	}
	return nil
}

// idleSince returns the later of the last end of a stream and the last ACK of a proof.
func (t *transcript) idleSince() time.Time {
	if t.ended.After(t.acked) {
		return t.ended
	}
	return t.acked
}

func checkLinger(t *transcript) error {
	if !t.closedByConn() || t.grace > 0 || t.serverLeft {
		return nil
	}
	if wait := t.left().Sub(t.idleSince()); t.acked.IsZero() || wait < testLinger {
		return fmt.Errorf("closed %v after the last event (proof acknowledged: %t)", wait, !t.acked.IsZero())
	}
	return nil
}

// checkProof expects an ACK of the first proof PING after the last end of a stream.
func checkProof(t *transcript) error {
	if !t.closedByConn() || t.grace > 0 || t.serverLeft {
		return nil
	}
	proofs, needed := 0, 1
	for _, f := range t.out {
		switch {
		case f.is(http2.FramePing) && written(f) && string(f.payload) == proofPayload:
			proofs++
		case f.ends() && !slices.Contains(t.reset, f.id):
			needed = proofs + 1
		}
	}
	if t.proofs < needed {
		return fmt.Errorf("%d proofs of %d were acknowledged, want %d", t.proofs, proofs, needed)
	}
	return nil
}

// checkEOFWait expects the whole wait. A client that still has to read something when the
// linger is over gets the half-close later.
func checkEOFWait(t *transcript) error {
	if !t.half || !t.closedByConn() || t.grace > 0 || t.serverLeft {
		return nil
	}
	if t.shut.IsZero() && !t.stuck() {
		return errors.New("there was no half-close")
	}
	if wait := t.closed.Sub(t.idleSince()); wait < testLinger+wantEOFWait {
		return fmt.Errorf("closed %v after the last event", wait)
	}
	return nil
}

// bytes returns the frame as it is on the wire.
func (f rawFrame) bytes() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(f.payload)))[1:]
	b = append(b, f.typ, f.flags)
	return append(binary.BigEndian.AppendUint32(b, f.id), f.payload...)
}

// String describes the frame.
func (f rawFrame) String() string {
	return fmt.Sprintf("%v(flags %d, stream %d, %q)", http2.FrameType(f.typ), f.flags, f.id, f.payload)
}

// Each rule is broken by some transcript, and none by an empty one.
func TestRulesNotice(t *testing.T) {
	w := newWire()
	frames := func(write func()) []rawFrame {
		write()
		all, _, _ := parseRaw(w.take())
		return all
	}
	settings := func() { _ = w.WriteSettings() }
	now := time.Now()
	for want, tr := range map[string]transcript{
		"the server's first frame is SETTINGS, and no ACK": {out: frames(func() { _ = w.WriteSettingsAck() }), serverOut: []byte("any")},
		"the client gets whole frames of legal lengths":    {rest: 3},
		"nothing stands between the frames of a header block": {out: frames(func() {
			settings()
			w.headers(1, false, false)
			_ = w.WritePing(false, proofData)
		})},
		"streams have frames only between the client's HEADERS and their end": {out: frames(func() { settings(); w.headers(1, true, true) })},
		"PINGs are answered in order, with their own data":                    {pings: 2, out: frames(func() { settings(); _ = w.WritePing(true, [8]byte{2}) })},
		"GOAWAYs are on stream 0 and say NO_ERROR":                            {out: frames(func() { settings(); _ = w.WriteGoAway(1, http2.ErrCodeProtocol, nil) })},
		"the last-stream-id never rises": {out: frames(func() {
			settings()
			_ = w.WriteGoAway(1, http2.ErrCodeNo, nil)
			_ = w.WriteGoAway(3, http2.ErrCodeNo, nil)
		})},
		"each stream up to the final last-stream-id gets its whole answer": {sent: []uint32{1}},
		"no stream above the final last-stream-id is processed": {executed: []uint32{3}, out: frames(func() {
			settings()
			_ = w.WriteGoAway(1, http2.ErrCodeNo, nil)
		})},
		"nothing that the server writes is changed":                                                    {serverOut: []byte("lost")},
		"nothing that the client sends is changed":                                                     {serverIn: []byte("new")},
		"an idle connection is left to its client for the linger, after the proof and the last stream": {drained: true, how: Clean, closed: now},
		"the client has proved that it has read the last end of a stream":                              {drained: true, how: Clean, closed: now},
		"the half-close comes first, and the client has 5 s more to close":                             {drained: true, how: Clean, half: true, closed: now},
		"a drained connection is closed in the end":                                                    {drained: true},
		"streams are cut off only at the end of the grace":                                             {drained: true, how: Forced, closed: now, drainedAt: now},
	} {
		noticed := false
		for _, r := range rules {
			noticed = noticed || r.text == want && r.check(&tr) != nil
		}
		if !noticed {
			t.Errorf("not noticed: %s", want)
		}
	}
	for _, r := range rules {
		if err := r.check(&transcript{}); err != nil {
			t.Errorf("%s, %s: %v", r.section, r.text, err)
		}
	}
}
