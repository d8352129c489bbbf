package h2conn

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// wantHold is the documented time; the tests do not take it from the code.
const wantHold = time.Second

// beginHold opens a stream and drains the connection. The client has then got the hold
// PING and nothing else; from here on it acknowledges nothing by itself.
func (p *pair) beginHold(grace time.Duration) {
	p.t.Helper()
	p.open(1)
	p.setAcks(false)
	p.drain(grace)
	p.got("PING evenhold")
}

// write lets the server write what p.w has composed, on a goroutine of its own.
func (p *pair) write() (done <-chan error) {
	b, ch := p.w.take(), make(chan error, 1)
	go func() {
		n, err := p.c.Write(b)
		if err == nil && n != len(b) {
			err = io.ErrShortWrite
		}
		ch <- err
	}()
	synctest.Wait()
	return ch
}

func (p *pair) ack(payload [8]byte) {
	p.t.Helper()
	_ = p.w.WritePing(true, payload)
	p.fromClient()
}

// elapsed fails unless exactly want of virtual time has passed.
func (p *pair) elapsed(since time.Time, want time.Duration) {
	p.t.Helper()
	if took := time.Since(since); took != want {
		p.t.Errorf("took %v, want %v", took, want)
	}
}

// The server's writes are held until the client acknowledges the hold PING. No other
// frame ends the hold. Then the GOAWAY goes first, and the held writes follow.
func TestHold(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.beginHold(0)
		start := time.Now()
		_ = p.w.WriteData(1, false, []byte("x"))
		p.w.headers(1, true, true)
		wrote := p.write()
		p.ack(proofData)
		p.ack([8]byte{1, 6, 1, 8, 0, 3, 3, 9})
		_ = p.w.WritePing(false, holdData)
		_ = p.w.WriteRawFrame(http2.FramePing, http2.FlagPingAck, 0, []byte(holdPayload+"!"))
		_ = p.w.WriteRawFrame(http2.FramePing, http2.FlagPingAck, 1, []byte(holdPayload))
		p.fromClient()
		p.got("PING evenhold")
		p.state(Draining)
		_ = p.w.WritePing(true, holdData)
		ack := p.w.take()
		for i := range ack {
			p.got("PING evenhold")
			p.w.Write(ack[i : i+1])
			p.fromClient()
		}
		p.elapsed(start, 0)
		if err := <-wrote; err != nil {
			p.t.Error(err)
		}
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "DATA", "HEADERS")
		p.state(Draining) // the ACK of the hold PING is no proof
		p.ack(holdData)
		p.state(Draining)
		p.ack(proofData)
		p.state(Idle)
	})
}

// After the last stream has ended there is still a hold, since that end may be on its
// way to the client.
func TestHoldAfterLastStreamEnds(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		p.open(1)
		p.end(1)
		p.drain(0)
		p.got("HEADERS", "PING evenhold")
		p.ack(holdData)
		p.got("HEADERS", "PING evenhold", "GOAWAY bye", "PING evenkeel")
		p.ack(proofData)
		p.state(Idle)
	})
}

// There is no hold for a client that has nothing to read, such as one that has
// canceled its RPC.
func TestNoHoldWithoutStreams(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		p.open(1)
		_ = p.w.WriteRSTStream(1, http2.ErrCodeCancel)
		p.fromClient()
		start := time.Now()
		p.drain(0)
		p.got("GOAWAY bye", "PING evenkeel")
		p.elapsed(start, 0)
	})
}

// The client gets every byte of the server unchanged, those that were held included.
func TestHoldChangesNoByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, cli := net.Pipe()
		c := New(srv, nil, nil)
		var got bytes.Buffer
		go func() { _, _ = io.Copy(&got, cli) }()
		go func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) }()
		w := newWire()
		w.WriteString(http2.ClientPreface)
		w.headers(1, true, true)
		_, _ = cli.Write(w.take())
		synctest.Wait()
		_ = w.WriteSettings()
		settings := w.take()
		writeSome(t, c, settings, len(settings))
		drainNow(c, testDebug, 0)
		synctest.Wait()
		_ = w.WriteData(1, false, []byte("withheld"))
		w.headers(1, true, true)
		withheld := w.take()
		wrote := make(chan struct{})
		go func() {
			writeSome(t, c, withheld, 12) // in mid-frame
			writeSome(t, c, withheld[12:], len(withheld))
			close(wrote)
		}()
		synctest.Wait()
		_ = w.WritePing(true, holdData)
		_, _ = cli.Write(w.take())
		<-wrote
		synctest.Wait()
		server := append(bytes.Clone(settings), withheld...)
		if at, held := injectedAt(t, got.Bytes(), server, testDebug); at != len(settings) || !held {
			t.Errorf("GOAWAY at byte %d, held: %t; want byte %d, held", at, held, len(settings))
		}
		_ = c.Close()
	})
}

// The round trip to a client may take long, and a packet may have to be sent twice. The
// client reads what comes after the lost packet together with it, so the GOAWAY waits for its ACK.
func TestHoldOutlastsALostPacket(t *testing.T) {
	const roundTrip, retransmission = 200 * time.Millisecond, 600 * time.Millisecond
	inBubble(t, func(p *pair, _ bool) {
		p.beginHold(0)
		p.w.headers(1, true, true)
		wrote := p.write()
		time.Sleep(roundTrip + retransmission)
		p.got("PING evenhold")
		p.ack(holdData)
		if err := <-wrote; err != nil {
			p.t.Error(err)
		}
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "HEADERS")
	})
}

// A client that does not acknowledge in time gets the GOAWAY anyway. Its late ACK means
// nothing.
func TestHoldIsBounded(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.beginHold(0)
		start := time.Now()
		_ = p.w.WriteSettingsAck()
		wrote := p.write()
		time.Sleep(wantHold - 1)
		p.got("PING evenhold")
		if err := <-wrote; err != nil {
			p.t.Error(err)
		}
		p.elapsed(start, wantHold)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "SETTINGS")
		p.ack(holdData)
		p.state(Draining)
		p.ack(proofData)
		p.state(Acknowledged)
	})
}

// If Drain comes in the middle of a frame and of a header block, the writer begins the
// hold itself, at the next place where a GOAWAY may stand.
func TestHoldInMidFrame(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.setAcks(false)
		p.w.headers(1, false, false)
		p.fromServer()
		p.drain(0)
		_ = p.w.WriteContinuation(1, false, nil)
		_ = p.w.WriteContinuation(1, true, nil)
		b := p.w.take()
		p.w.Write(b[:11]) // of 18
		p.fromServer()
		p.got("HEADERS", "CONTINUATION")
		p.w.Write(b[11:])
		_ = p.w.WriteData(1, true, nil)
		start, wrote := time.Now(), p.write()
		p.got("HEADERS", "CONTINUATION", "CONTINUATION", "PING evenhold")
		p.ack(holdData)
		if err := <-wrote; err != nil {
			p.t.Error(err)
		}
		p.elapsed(start, 0)
		p.got("HEADERS", "CONTINUATION", "CONTINUATION", "PING evenhold", "GOAWAY bye", "PING evenkeel", "DATA")
	})
}

// A GOAWAY that the server writes during the hold follows ours.
func TestServerGoAwayDuringHold(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.beginHold(0)
		_ = p.w.WriteGoAway(1, http2.ErrCodeNo, nil)
		wrote := p.write()
		p.got("PING evenhold")
		p.ack(holdData)
		if err := <-wrote; err != nil {
			p.t.Error(err)
		}
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "GOAWAY last=1 NO_ERROR")
		p.rec.want(p.t, "goaway ours=true")
		p.walked(Open, Draining)
	})
}

// If Drain comes in the middle of the server's own GOAWAY, there is no hold, even with a
// stream open.
func TestNoHoldDuringServerGoAway(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		_ = p.w.WriteGoAway(1, http2.ErrCodeNo, nil)
		b := p.w.take()
		p.w.Write(b[:3])
		p.fromServer()
		p.drain(0)
		p.w.Write(b[3:])
		p.fromServer()
		p.got("GOAWAY last=1 NO_ERROR")
	})
}

// If the connection ends while the server's writes are held, they fail at once.
func TestConnectionEndsDuringHold(t *testing.T) {
	for name, tc := range map[string]struct {
		grace time.Duration
		end   func(p *pair)
		after time.Duration
		how   How
		call  string
	}{
		"close":  {0, func(p *pair) { _ = p.c.Close() }, 0, ByServer, "closed: server"},
		"client": {0, func(p *pair) { _ = p.client.Close() }, 0, ByClient, "closed: client"},
		"grace":  {wantHold / 2, func(*pair) {}, wantHold / 2, Forced, "closed: forced"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(p *pair, _ bool) {
				p.beginHold(tc.grace)
				start := time.Now()
				_ = p.w.WriteSettingsAck()
				wrote := p.write()
				tc.end(p)
				p.closedAfter(tc.after, tc.how)
				if err := <-wrote; err == nil {
					p.t.Error("a write to a closed connection succeeded")
				}
				p.elapsed(start, tc.after)
				p.got("PING evenhold", "EOF")
				p.rec.want(p.t, tc.call)
				p.walked(Open, Draining, Closed)
			})
		})
	}
}

// If the client resets its last stream during the hold and the grace ends, the last
// word is the only GOAWAY.
func TestGraceEndsDuringHold(t *testing.T) {
	const grace = wantHold / 2
	inBubble(t, func(p *pair, half bool) {
		p.beginHold(grace)
		_ = p.w.WriteRSTStream(1, http2.ErrCodeCancel)
		p.fromClient()
		time.Sleep(grace)
		p.closedAfter(wantEOFWait, Clean)
		p.got("PING evenhold", "GOAWAY last=1 NO_ERROR", endIf(half), "EOF")
	})
}

// The client's EOF ends the hold, while the server goes on writing. Nobody is left to
// wait for, or to send a GOAWAY to.
func TestClientEOFEndsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc := &eofConn{eof: make(chan struct{})}
		c := New(nc, nil, nil)
		w := newWire()
		w.WriteString(http2.ClientPreface)
		w.headers(1, true, true)
		nc.in = w.take()
		readSome(t, c, make([]byte, 100), nc.in)
		_ = w.WriteSettings()
		_ = w.WriteSettingsAck()
		b := w.take()
		writeSome(t, c, b, frameHeaderLen)
		drainNow(c, testDebug, 0)
		go func() {
			<-nc.eof
			_, _ = c.Read(make([]byte, 1))
		}()
		synctest.Wait()
		start := time.Now()
		close(nc.eof)
		writeSome(t, c, b[frameHeaderLen:], len(b))
		if took := time.Since(start); took != 0 {
			t.Errorf("the write took %v, want no time", took)
		}
		_ = w.WritePing(false, holdData)
		want := slices.Concat(b[:frameHeaderLen], w.take(), b[frameHeaderLen:])
		if !bytes.Equal(nc.out.Bytes(), want) {
			t.Errorf("client got %q, want %q", nc.out.Bytes(), want)
		}
		_ = c.Close()
	})
}

// eofConn returns io.EOF once its script is over.
type eofConn struct {
	memConn

	eof chan struct{}
}

func (e *eofConn) Read(p []byte) (int, error) {
	if len(e.in) == 0 {
		return 0, io.EOF
	}
	return e.memConn.Read(p)
}

// If the write of the hold PING fails, the connection is closed, and the server's
// write returns the error.
func TestHoldPingWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.WriteString(http2.ClientPreface)
		w.headers(1, true, true)
		rec := newRecorder()
		nc := &memConn{in: w.take(), limit: 2*frameHeaderLen + 3}
		c := New(nc, nil, rec)
		readSome(t, c, make([]byte, 100), nc.in)
		_ = w.WriteSettings()
		_ = w.WriteSettingsAck()
		b := w.take()
		writeSome(t, c, b, frameHeaderLen+1) // in mid-frame
		drainNow(c, testDebug, 0)
		synctest.Wait()
		start := time.Now()
		n, err := c.Write(append(b[frameHeaderLen+1:], b...))
		if took := time.Since(start); took != 0 {
			t.Errorf("the write took %v, want no time: there is no ACK to wait for", took)
		}
		if n != frameHeaderLen-1 || err == nil {
			t.Errorf("Write returned %d, %v, want %d and an error", n, err, frameHeaderLen-1)
		}
		rec.want(t, "lost: "+ErrWrite.Error(), "closed: server")
	})
}
