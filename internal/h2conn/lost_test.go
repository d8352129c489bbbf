package h2conn

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// If the server's bytes are not HTTP/2, they pass unchanged and the connection is left
// alone.
func TestLostByIllegalFrame(t *testing.T) {
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
				t.Errorf("client got %q, want %q", nc.out.Bytes(), b)
			}
			wantLost(t, c, rec, ErrFrame)
		})
	}
}

func TestLostByWrongPreface(t *testing.T) {
	nc := &memConn{in: []byte("GET / HTTP/1.1\r\n\r\n")}
	rec := newRecorder()
	c := New(nc, nil, rec)
	readSome(t, c, make([]byte, 5), nc.in)
	readSome(t, c, make([]byte, 100), nc.in)
	wantLost(t, c, rec, ErrPreface)
}

func TestLostByPartialWrite(t *testing.T) {
	nc := &memConn{limit: 12}
	rec := newRecorder()
	c := New(nc, nil, rec)
	w := newWire()
	_ = w.WriteSettings()
	_ = w.WriteSettingsAck()
	if n, err := c.Write(w.take()); n != 12 || err == nil {
		t.Errorf("Write returned %d, %v, want 12 and an error", n, err)
	}
	wantLost(t, c, rec, ErrWrite)
}

func wantLost(t *testing.T, c *Conn, rec *recorder, err error) {
	t.Helper()
	if c.Lost() != err || drainNow(c, testDebug, 0) {
		t.Errorf("lost: %v, want %v; or Drain returned true", c.Lost(), err)
	}
	wantState(t, c, Open)
	_ = c.Close()
	rec.want(t, "lost: "+err.Error(), "closed: server")
}

// Wherever a Write fails into which the GOAWAY is injected, n counts only the bytes of
// the server.
func TestWriteFailsAnywhere(t *testing.T) {
	w := newWire()
	_ = w.WriteSettings()
	_ = w.WriteData(1, false, []byte("the frame that Drain comes in"))
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
		drainNow(c, testDebug, 0) // can inject nothing before the next Write
		n, err := c.Write(server[from:])
		want := min(limit, at) - from + max(0, limit-at-ours)
		if failed := err != nil; n != want || failed != (limit < len(wire)) {
			t.Errorf("Write returned %d, %v with room for %d bytes, want %d", n, err, limit, want)
		}
		if !bytes.Equal(nc.out.Bytes(), wire[:limit]) {
			t.Errorf("client got %q, want %q", nc.out.Bytes(), wire[:limit])
		}
		if lost := c.Lost() != nil; lost != (err != nil) {
			t.Errorf("Write returned %v, lost: %v", err, c.Lost())
		}
		_ = c.Close()
		<-rec.how
	}
}

// If the frames are lost after the GOAWAY, the Conn no longer closes the connection.
func TestLostAfterGoAway(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.drain(0)
		p.state(Idle)
		_ = p.w.WriteRawFrame(http2.FrameContinuation, 0, 1, nil)
		p.fromServer()
		time.Sleep(time.Hour)
		p.state(Idle)
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		p.rec.want(p.t, "goaway ours=true", "lost: "+ErrFrame.Error(), "closed: server")
		p.walked(Open, Idle, Closed)
	})
}

// If the frames are lost before the GOAWAY could be written, it never is.
func TestLostBeforeGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc := &memConn{in: []byte("GET / HTTP/1.1\r\n\r\n")}
		rec := newRecorder()
		c := New(nc, nil, rec)
		drainNow(c, "bye", 0)
		synctest.Wait()
		wantState(t, c, Draining)
		_, _ = c.Read(make([]byte, 100))
		w := newWire()
		_ = w.WriteSettings()
		b := w.take()
		writeSome(t, c, b, len(b))
		if !bytes.Equal(nc.out.Bytes(), b) {
			t.Errorf("client got %q, want %q", nc.out.Bytes(), b)
		}
		wantState(t, c, Draining)
		_ = c.Close()
		rec.want(t, "lost: "+ErrPreface.Error(), "closed: server")
	})
}

// If the write of our own frames fails in the middle, the connection is closed: the
// server does not know that it must not write any more.
func TestGoAwayWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		_ = w.WriteSettings()
		b := w.take()
		nc := &memConn{limit: len(b) + 5}
		rec := newRecorder()
		c := New(nc, nil, rec)
		writeSome(t, c, b, len(b))
		drainNow(c, "bye", 0)
		synctest.Wait()
		rec.want(t, "lost: "+ErrWrite.Error(), "closed: server")
		if !nc.closed {
			t.Error("the connection is open, so the server would write into the middle of our GOAWAY")
		}
	})
}
