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

// script draws random frames of a client or a server.
type script struct {
	*wire
	draw   func(n int) int // returns 0 to n-1
	opened uint32          // the highest stream ID that the client has opened
}

func pick[T any](s *script, of ...T) T { return of[s.draw(len(of))] }

func (s *script) bool() bool { return s.draw(2) == 1 }

func (s *script) payload() []byte { return make([]byte, pick(s, 0, 1, 8, 9, 40, 300)) }

// id draws a stream ID, mostly one that has been opened.
func (s *script) id() uint32 { return 1 + uint32(s.draw(int(s.opened)+3)) }

// block writes a header block of one or more frames.
func (s *script) block(id uint32, endStream bool) {
	n := pick(s, 0, 0, 1, 3)
	s.headers(id, n == 0, endStream)
	for i := range n {
		_ = s.WriteContinuation(id, i == n-1, s.payload())
	}
}

// common writes a frame that either side may send and that changes no stream.
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
		case 3: // trailers, or an ID that must not be opened
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

// play passes both directions through a connection, in the pieces that cut returns. It
// compares every step with the reference, and drains the connection at step drainAt.
func play(t tb, c *Conn, nc *memConn, client, server []byte, cut func() (fromServer bool, n int), drainAt int) {
	ref := newRefStreams()
	fromClient, _ := clientEffects(client)
	fromServer, _ := serverEffects(server)
	read, written := 0, 0
	buf := make([]byte, 1<<10)
	for step := 0; read < len(client) || written < len(server); step++ {
		if step == drainAt {
			drainNow(c, testDebug, 0)
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

// property draws both directions of a connection, cuts them at random, and drains the
// connection at a random step. It returns whether our GOAWAY was written, and whether
// the server's writes were held for it. It must run in a bubble.
func property(t tb, draw func(n int) int) (injected, held bool) {
	s := &script{wire: newWire(), draw: draw}
	client, server := s.client(), s.server()
	nc := &memConn{}
	rec := newRecorder()
	c := New(nc, nil, rec)
	defer func() { _ = c.Close() }()
	drainAt, longest := s.draw(42)-1, pick(s, 1000, 60, 7, 1)
	play(t, c, nc, client, server, func() (bool, int) { return s.bool(), 1 + s.draw(longest) }, drainAt)
	if err := c.Lost(); err != nil {
		t.Fatalf("%v", err)
	}
	time.Sleep(wantHold) // the client may not have acknowledged
	synctest.Wait()
	at, held := injectedAt(t, nc.out.Bytes(), server, testDebug)
	injected = at >= 0
	if notified := slices.Contains(rec.all(), "goaway ours=true"); notified != injected {
		t.Fatalf("our GOAWAY on the wire: %t, observer notified: %t", injected, notified)
	}
	return injected, held
}

func TestProperties(t *testing.T) {
	injected, held := 0, 0
	synctest.Test(t, func(t *testing.T) {
		// This hides the Deadline method, which rapid would call and a bubble forbids.
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
		t.Errorf("%d connections got our GOAWAY, %d of them after a hold; want some, but not all", injected, held)
	}
}

// Wherever Drain comes in the server's output, the GOAWAY stands at the next possible
// place.
func TestDrainAtEveryByte(t *testing.T) {
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
			drainNow(c, testDebug, 0)
			synctest.Wait()
			writeSome(t, c, server[from:], len(server))
			at, _ := injectedAt(t, nc.out.Bytes(), server, testDebug)
			if want := firstGap(server, from); at != want || at < 0 {
				t.Errorf("drained at byte %d: GOAWAY at byte %d, want byte %d", from, at, want)
			}
			_ = c.Close()
		})
	}
}

// The longest frame, of 2^24-1 bytes, passes in pieces.
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
	for remaining := length; remaining > 0; remaining -= min(remaining, len(piece)) {
		if open, _ := c.Streams(); open != 1 {
			t.Fatalf("%d streams open with %d bytes to come, want 1", open, remaining)
		}
		nc.out.Reset()
		writeSome(t, c, piece, remaining)
	}
	if open, _ := c.Streams(); open != 0 || c.Lost() != nil {
		t.Errorf("%d streams open after the frame, lost: %v; want 0, not lost", open, c.Lost())
	}
}

// A header block of very many frames counts once, and costs nothing.
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
		t.Errorf("%d streams open, %d ever opened, want 1, 1", open, opened)
	}
}
