package h2conn

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"
)

// script draws what a client or a server sends.
type script struct {
	*wire
	draw   func(n int) int // from 0 to n-1
	opened uint32          // highest id that the client has opened
}

func pick[T any](s *script, of ...T) T { return of[s.draw(len(of))] }

func (s *script) bool() bool { return s.draw(2) == 1 }

func (s *script) payload() []byte { return make([]byte, pick(s, 0, 1, 8, 9, 40, 300)) }

// id is mostly one that has been opened.
func (s *script) id() uint32 { return 1 + uint32(s.draw(int(s.opened)+3)) }

// block writes a header block of one frame or of many.
func (s *script) block(id uint32, endStream bool) {
	n := pick(s, 0, 0, 1, 3)
	s.headers(id, n == 0, endStream)
	for i := range n {
		_ = s.WriteContinuation(id, i == n-1, s.payload())
	}
}

// common writes a frame that both sides send and that changes no stream.
func (s *script) common() {
	switch s.draw(6) {
	case 0:
		_ = s.WritePing(s.bool(), pick(s, [8]byte{1, 6, 1, 8, 0, 3, 3, 9}, holdData))
	case 1:
		_ = s.WriteWindowUpdate(s.id(), 100)
	case 2:
		_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 70000})
	case 3:
		_ = s.WriteSettingsAck()
	case 4:
		_ = s.WriteRawFrame(0xbe, http2.Flags(0xff), s.id(), s.payload())
	case 5:
		_ = s.WriteData(s.id(), false, s.payload())
	}
}

func (s *script) client() []byte {
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings()
	for range s.draw(31) {
		switch s.draw(8) {
		case 0, 1, 2:
			s.opened += pick[uint32](s, 2, 2, 2, 1, 4)
			s.block(s.opened, s.bool())
		case 3: // trailers, or an id that has no right to be opened
			s.block(s.id(), true)
		case 4:
			_ = s.WriteData(s.id(), true, s.payload())
		case 5:
			_ = s.WriteRSTStream(s.id(), http2.ErrCodeCancel)
		default:
			s.common()
		}
	}
	return s.take()
}

func (s *script) server() []byte {
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16384})
	for range s.draw(31) {
		switch s.draw(9) {
		case 0, 1:
			s.block(s.id(), false)
		case 2, 3:
			s.block(s.id(), true)
		case 4:
			_ = s.WriteData(s.id(), true, s.payload())
		case 5:
			_ = s.WriteRSTStream(s.id(), http2.ErrCodeNo)
		case 6:
			if s.draw(10) == 0 {
				_ = s.WriteGoAway(pick(s, 1<<32-1, s.opened, s.opened/2), http2.ErrCodeNo, s.payload())
			}
		default:
			s.common()
		}
	}
	return s.take()
}

// play lets both streams pass through a connection, cut as cuts say, and
// compares each step with the reference. It returns what the client got.
func play(t tb, c *Conn, nc *memConn, client, server []byte, cut func() (fromServer bool, n int), leaveAt int) {
	ref := newRefStreams()
	fromClient, _ := clientEffects(client)
	fromServer, _ := serverEffects(server)
	read, written := 0, 0
	buf := make([]byte, 1<<10)
	for step := 0; read < len(client) || written < len(server); step++ {
		if step == leaveAt {
			c.Drain(testDebug, 0)
			synctest.Wait()
		}
		srv, n := cut()
		if srv && written < len(server) || read == len(client) {
			written += writeSome(t, c, server[written:], n)
		} else {
			nc.in = client[read:min(len(client), read+n)]
			read += readSome(t, c, buf, nc.in)
		}
		fromClient = ref.pass(fromClient, read)
		fromServer = ref.pass(fromServer, written)
		ref.compare(t, c)
	}
}

func writeSome(t tb, c *Conn, p []byte, n int) int {
	t.Helper()
	p = p[:min(n, len(p))]
	got, err := c.Write(p)
	if err != nil || got != len(p) {
		t.Fatalf("Write returned %d, %v for %d bytes", got, err, len(p))
	}
	return got
}

func readSome(t tb, c *Conn, buf, want []byte) int {
	t.Helper()
	n, err := c.Read(buf)
	if err != nil || !bytes.Equal(buf[:n], want[:n]) {
		t.Fatalf("Read returned %q, %v, want %q", buf[:n], err, want)
	}
	return n
}

const testDebug = "evenkeel: test"

// property draws both directions of a connection, cuts them at random, and asks
// it to leave at any step. It returns whether our GOAWAY was written, and whether
// the server's writes were held for it. It must run in a bubble.
func property(t tb, draw func(n int) int) (injected, held bool) {
	s := &script{wire: newWire(), draw: draw}
	client, server := s.client(), s.server()
	nc := &memConn{}
	rec := newRecorder()
	c := New(nc, nil, rec)
	defer func() { _ = c.Close() }()
	leaveAt, longest := s.draw(42)-1, pick(s, 1000, 60, 7, 1)
	play(t, c, nc, client, server, func() (bool, int) { return s.bool(), 1 + s.draw(longest) }, leaveAt)
	if err := c.Lost(); err != nil {
		t.Fatalf("%v", err)
	}
	time.Sleep(wantHold) // the client may have said nothing
	synctest.Wait()
	at, held := injectedAt(t, nc.out.Bytes(), server, testDebug)
	injected = at >= 0
	if told := slices.Contains(rec.all(), "goaway ours=true"); told != injected {
		t.Fatalf("our GOAWAY on the wire: %t, observer told: %t", injected, told)
	}
	return injected, held
}

func TestProperties(t *testing.T) {
	injected, held := 0, 0
	synctest.Test(t, func(t *testing.T) {
		// rapid asks for the deadline of a test, which a bubble does not tell.
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			i, h := property(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "draw") })
			if i {
				injected++
			}
			if h {
				held++
			}
		})
	})
	if held == 0 || injected == held {
		t.Errorf("%d connections got our GOAWAY, %d were held for it", injected, held)
	}
}

// TestCutAtEveryByte asks to leave at every byte of a server's output, cut
// there, and expects the GOAWAY at the next boundary.
func TestCutAtEveryByte(t *testing.T) {
	w := newWire()
	_ = w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16384})
	w.headers(1, false, false)
	_ = w.WriteContinuation(1, false, []byte("more"))
	_ = w.WriteContinuation(1, true, []byte("and more"))
	_ = w.WriteData(1, false, []byte("data"))
	w.headers(1, false, true)
	_ = w.WriteContinuation(1, true, nil)
	_ = w.WriteSettingsAck()
	server := w.take()
	for from := 0; from <= len(server); from++ {
		synctest.Test(t, func(t *testing.T) {
			nc := &memConn{}
			c := New(nc, nil, nil)
			writeSome(t, c, server, from)
			c.Drain(testDebug, 0)
			synctest.Wait()
			writeSome(t, c, server[from:], len(server))
			at, _ := injectedAt(t, nc.out.Bytes(), server, testDebug)
			if want := firstGap(server, from); at != want || at < 0 {
				t.Errorf("asked at byte %d: GOAWAY at %d, want %d", from, at, want)
			}
			_ = c.Close()
		})
	}
}

// TestLongestFrame passes frames of 2^24-1 bytes in pieces.
func TestLongestFrame(t *testing.T) {
	const length = 1<<24 - 1
	nc := &memConn{}
	c := New(nc, nil, nil)
	defer func() { _ = c.Close() }()
	w := newWire()
	_ = w.WriteSettings()
	writeSome(t, c, w.take(), 1<<10)
	piece := make([]byte, 1<<16)
	header := []byte{0xff, 0xff, 0xff, byte(http2.FrameData), byte(http2.FlagDataEndStream), 0, 0, 0, 1}

	w.WriteString(http2.ClientPreface)
	w.headers(1, true, false)
	nc.in = w.take()
	for len(nc.in) > 0 {
		_, _ = c.Read(piece)
	}
	writeSome(t, c, header, len(header))
	for left := length; left > 0; left -= min(left, len(piece)) {
		if open, _ := c.Streams(); open != 1 {
			t.Fatalf("%d streams open with %d bytes to come", open, left)
		}
		nc.out.Reset()
		writeSome(t, c, piece, left)
	}
	if open, _ := c.Streams(); open != 0 || c.Lost() != nil {
		t.Errorf("%d streams open after the frame, lost: %v", open, c.Lost())
	}
}

// TestContinuationFlood lets a client send header blocks without end: they
// count once each, and cost nothing.
func TestContinuationFlood(t *testing.T) {
	nc := &memConn{}
	c := New(nc, nil, nil)
	defer func() { _ = c.Close() }()
	w := newWire()
	w.WriteString(http2.ClientPreface)
	w.headers(1, false, true)
	for range 10_000 {
		_ = w.WriteContinuation(1, false, []byte("x"))
	}
	nc.in = w.take()
	buf := make([]byte, 4096)
	for len(nc.in) > 0 {
		_, _ = c.Read(buf)
	}
	if open, opened := c.Streams(); open != 1 || opened != 1 {
		t.Errorf("%d open, %d opened, want 1, 1", open, opened)
	}
}

// TestHeadersFlood opens many streams and ends them; nothing of them is kept.
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
		t.Fatalf("%d open, %d opened, want %d each", open, opened, many)
	}
	b := server.take()
	writeSome(t, c, b, len(b))
	if open, _ := c.Streams(); open != 0 || c.streams.open != nil {
		t.Errorf("%d streams open, room for %d kept", open, cap(c.streams.open))
	}
}

// TestLost feeds what is no HTTP/2, and expects to be left alone.
func TestLost(t *testing.T) {
	settings := func(w *wire) { _ = w.WriteSettings() }
	raw := func(typ http2.FrameType, id uint32, n int) func(*wire) {
		return func(w *wire) { settings(w); _ = w.WriteRawFrame(typ, 0, id, make([]byte, n)) }
	}
	for name, server := range map[string]func(*wire){
		"no settings":           func(w *wire) { _ = w.WritePing(false, [8]byte{}) },
		"settings ack first":    func(w *wire) { _ = w.WriteSettingsAck() },
		"text":                  func(w *wire) { w.WriteString("HTTP/1.1 400 Bad Request\r\n\r\n") },
		"stray continuation":    raw(http2.FrameContinuation, 1, 3),
		"data on 0":             raw(http2.FrameData, 0, 3),
		"headers on 0":          raw(http2.FrameHeaders, 0, 3),
		"long reset":            raw(http2.FrameRSTStream, 1, 5),
		"reset on 0":            raw(http2.FrameRSTStream, 0, 4),
		"short ping":            raw(http2.FramePing, 0, 7),
		"ping on 1":             raw(http2.FramePing, 1, 8),
		"short goaway":          raw(http2.FrameGoAway, 0, 7),
		"goaway on 1":           raw(http2.FrameGoAway, 1, 8),
		"odd settings":          raw(http2.FrameSettings, 0, 7),
		"settings on 1":         raw(http2.FrameSettings, 1, 6),
		"long window update":    raw(http2.FrameWindowUpdate, 0, 5),
		"short priority":        raw(http2.FramePriority, 1, 4),
		"priority on 0":         raw(http2.FramePriority, 0, 5),
		"short promise":         raw(http2.FramePushPromise, 1, 3),
		"data in a block":       func(w *wire) { settings(w); w.headers(1, false, false); _ = w.WriteData(1, false, nil) },
		"block changes streams": func(w *wire) { settings(w); w.headers(1, false, false); _ = w.WriteContinuation(3, true, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			nc := &memConn{}
			rec := newRecorder()
			c := New(nc, nil, rec)
			w := newWire()
			server(w)
			b := append(w.take(), "and more of it"...)
			for i := range b {
				writeSome(t, c, b[i:], 1)
			}
			if !bytes.Equal(nc.out.Bytes(), b) {
				t.Errorf("%q passed, want %q", nc.out.Bytes(), b)
			}
			wantLost(t, c, rec, ErrFrame)
		})
	}
	t.Run("preface", func(t *testing.T) {
		nc := &memConn{in: []byte("GET / HTTP/1.1\r\n\r\n")}
		rec := newRecorder()
		c := New(nc, nil, rec)
		readSome(t, c, make([]byte, 5), nc.in)
		readSome(t, c, make([]byte, 100), nc.in)
		wantLost(t, c, rec, ErrPreface)
	})
	t.Run("partial write", func(t *testing.T) {
		nc := &memConn{limit: 12}
		rec := newRecorder()
		c := New(nc, nil, rec)
		w := newWire()
		settings(w)
		_ = w.WriteSettingsAck()
		if n, err := c.Write(w.take()); n != 12 || err == nil {
			t.Errorf("Write returned %d, %v", n, err)
		}
		wantLost(t, c, rec, ErrWrite)
	})
}

func wantLost(t *testing.T, c *Conn, rec *recorder, err error) {
	t.Helper()
	if c.Lost() != err || c.Drain(testDebug, 0) {
		t.Errorf("lost: %v, want %v; it must not be asked to leave", c.Lost(), err)
	}
	wantState(t, c, Open)
	_ = c.Close()
	rec.want(t, "lost: "+err.Error(), "closed: server")
}

// TestSpareStreams keeps room for what a connection needs again and again, and
// for no more.
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
		t.Errorf("%v allocations for 60 streams", allocs)
	}
	busy(4)
	if cap(s.open) > spareStreams {
		t.Errorf("room for %d streams after a calm time", cap(s.open))
	}
	busy(maxSpare + 1)
	if cap(s.open) > maxSpare {
		t.Errorf("room for %d streams after a flood", cap(s.open))
	}
}

// TestWriteFailsAnywhere lets the connection below fail after every byte while
// the GOAWAY is injected in the middle of a Write: n counts the server's bytes.
func TestWriteFailsAnywhere(t *testing.T) {
	w := newWire()
	_ = w.WriteSettings()
	_ = w.WriteData(1, false, []byte("the frame that Leave comes in"))
	at := w.Len()
	_ = w.WriteSettingsAck()
	server := w.take()
	const from = 15 // in DATA
	_ = w.WriteGoAway(maxStreamID, http2.ErrCodeNo, []byte(testDebug))
	_ = w.WritePing(false, proofData)
	wire := append(append(bytes.Clone(server[:at]), w.take()...), server[at:]...)
	ours := len(wire) - len(server)
	for limit := from + 1; limit <= len(wire); limit++ {
		nc := &memConn{limit: limit}
		rec := newRecorder()
		c := New(nc, nil, rec)
		writeSome(t, c, server, from)
		c.Drain(testDebug, 0) // finds nothing to do before the next Write
		n, err := c.Write(server[from:])
		want := min(limit, at) - from + max(0, limit-at-ours)
		if failed := err != nil; n != want || failed != (limit < len(wire)) {
			t.Errorf("Write returned %d, %v with room for %d bytes, want %d", n, err, limit, want)
		}
		if !bytes.Equal(nc.out.Bytes(), wire[:limit]) {
			t.Errorf("the client got %q, want %q", nc.out.Bytes(), wire[:limit])
		}
		if lost := c.Lost() != nil; lost != (err != nil) {
			t.Errorf("Write returned %v, lost: %v", err, c.Lost())
		}
		_ = c.Close()
		<-rec.how
	}
}
