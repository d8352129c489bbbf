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

// What is documented, not what the code says.
const wantHold = 100 * time.Millisecond

// held makes a pair with a stream open, and asks it to leave: the client, which
// acknowledges nothing by itself, has got the PING and no more.
func (p *pair) held(grace time.Duration) {
	p.t.Helper()
	p.open(1)
	p.setAcks(false)
	p.leave(grace)
	p.got("PING evenhold")
}

// write lets the server write what has been composed, from a goroutine of its own.
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

// elapsed fails if virtual time has gone on.
func (p *pair) elapsed(since time.Time, want time.Duration) {
	p.t.Helper()
	if took := time.Since(since); took != want {
		p.t.Errorf("it took %v, want %v", took, want)
	}
}

// TestHold holds what the server writes until the client has acknowledged, by
// the right PING and nothing else: the GOAWAY comes first, then what was held.
func TestHold(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.held(0)
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
		p.state(Draining) // what held it is no proof
		p.ack(holdData)
		p.state(Draining)
		p.ack(proofData)
		p.state(Idle)
	})
}

// TestHoldForWhatHasEnded asks when no stream is open any more: its end may still
// be on its way to the client.
func TestHoldForWhatHasEnded(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		p.open(1)
		p.end(1)
		p.leave(0)
		p.got("HEADERS", "PING evenhold")
		p.ack(holdData)
		p.got("HEADERS", "PING evenhold", "GOAWAY bye", "PING evenkeel")
		p.ack(proofData)
		p.state(Idle)
	})
}

// TestNoHoldWithoutStreams asks a client that has nothing to read, and one that
// has taken its RPC back.
func TestNoHoldWithoutStreams(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		p.open(1)
		_ = p.w.WriteRSTStream(1, http2.ErrCodeCancel)
		p.fromClient()
		start := time.Now()
		p.leave(0)
		p.got("GOAWAY bye", "PING evenkeel")
		p.elapsed(start, 0)
	})
}

// TestHoldChangesNoByte compares all bytes, with many writers.
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
		c.Drain(testDebug, 0)
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
			t.Errorf("GOAWAY at %d, want %d; held: %t", at, len(settings), held)
		}
		_ = c.Close()
	})
}

// TestHoldIsBounded has a client that never acknowledges: it gets the GOAWAY, and
// a late ACK means nothing.
func TestHoldIsBounded(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.held(0)
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

// TestHoldInMidFrame asks while the server is in the middle of a frame, and of a
// header block: the writer holds itself, at the next place for a GOAWAY.
func TestHoldInMidFrame(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.setAcks(false)
		p.w.headers(1, false, false)
		p.fromServer()
		p.leave(0)
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

// TestHoldThenServerGoes has the server write its own GOAWAY into the hold: it
// cannot overtake.
func TestHoldThenServerGoes(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.held(0)
		_ = p.w.WriteGoAway(1, http2.ErrCodeNo, nil)
		wrote := p.write()
		p.got("PING evenhold")
		p.ack(holdData)
		if err := <-wrote; err != nil {
			p.t.Error(err)
		}
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "GOAWAY low")
		p.rec.want(p.t, "goaway ours=true")
		p.walked(Open, Draining)
	})
}

// TestServerGoesThenHold asks in the middle of the server's own GOAWAY, with a
// stream open: there is nothing to hold for.
func TestServerGoesThenHold(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		_ = p.w.WriteGoAway(1, http2.ErrCodeNo, nil)
		b := p.w.take()
		p.w.Write(b[:3])
		p.fromServer()
		p.leave(0)
		p.w.Write(b[3:])
		p.fromServer()
		p.got("GOAWAY low")
	})
}

// TestHoldEnds ends the connection while the server's writes are held: they fail
// at once.
func TestHoldEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		grace time.Duration
		end   func(p *pair)
		after time.Duration
		how   How
		told  string
	}{
		"close":  {0, func(p *pair) { _ = p.c.Close() }, 0, ByServer, "closed: server"},
		"client": {0, func(p *pair) { _ = p.client.Close() }, 0, ByClient, "closed: client"},
		"grace":  {wantHold / 2, func(*pair) {}, wantHold / 2, Forced, "closed: forced"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(p *pair, _ bool) {
				p.held(tc.grace)
				start := time.Now()
				_ = p.w.WriteSettingsAck()
				wrote := p.write()
				tc.end(p)
				p.closedAfter(tc.after, tc.how)
				if err := <-wrote; err == nil {
					p.t.Error("a write to a closed connection did not fail")
				}
				p.elapsed(start, tc.after)
				p.got("PING evenhold", "EOF")
				p.rec.want(p.t, tc.told)
				p.walked(Open, Draining, Closed)
			})
		})
	}
}

// TestHoldEndsQuietly has the last stream end by the client and the grace be
// over while the server's writes are held: the connection is half-closed then.
func TestHoldEndsQuietly(t *testing.T) {
	const grace = wantHold / 2
	inBubble(t, func(p *pair, half bool) {
		p.held(grace)
		_ = p.w.WriteRSTStream(1, http2.ErrCodeCancel)
		p.fromClient()
		time.Sleep(grace)
		p.got("PING evenhold", "EOF")
		p.closedAfter(onlyHalf(half, wantEOFWait), Clean)
	})
}

// TestHoldEndsWithTheClient reads the client's EOF, and has a server that goes on
// writing: there is nobody to wait for, nor to send a GOAWAY to.
func TestHoldEndsWithTheClient(t *testing.T) {
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
		c.Drain(testDebug, 0)
		go func() {
			<-nc.eof
			_, _ = c.Read(make([]byte, 1))
		}()
		synctest.Wait()
		start := time.Now()
		close(nc.eof)
		writeSome(t, c, b[frameHeaderLen:], len(b))
		if took := time.Since(start); took != 0 {
			t.Errorf("the write took %v", took)
		}
		_ = w.WritePing(false, holdData)
		want := slices.Concat(b[:frameHeaderLen], w.take(), b[frameHeaderLen:])
		if !bytes.Equal(nc.out.Bytes(), want) {
			t.Errorf("the client got %q, want %q", nc.out.Bytes(), want)
		}
		_ = c.Close()
	})
}

// eofConn has no more to read once its script is over.
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

// TestHoldFails has the write of the PING fail: the frames are lost, the server
// hears of it.
func TestHoldFails(t *testing.T) {
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
		c.Drain(testDebug, 0)
		synctest.Wait()
		start := time.Now()
		n, err := c.Write(append(b[frameHeaderLen+1:], b...))
		if took := time.Since(start); took != 0 {
			t.Errorf("the write took %v: there is no ACK to wait for", took)
		}
		if n != frameHeaderLen-1 || err == nil {
			t.Errorf("Write returned %d, %v", n, err)
		}
		wantState(t, c, Draining)
		_ = c.Close()
		rec.want(t, "lost: "+ErrWrite.Error(), "closed: server")
	})
}
