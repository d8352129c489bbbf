package h2conn

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/mem"
)

// A client may answer the proof PING long after the linger, and open a stream behind that
// answer that it had sent before it read the GOAWAY. The server has read that stream, so its
// answer must reach the client.
func TestStreamBehindALateProof(t *testing.T) {
	for name, tc := range map[string]struct{ proof, gap time.Duration }{
		"in time":                {time.Second, 0},
		"in time, 1 ms apart":    {time.Second, time.Millisecond},
		"late":                   {testLinger + time.Second, 0},
		"late, 1 ms apart":       {testLinger + time.Second, time.Millisecond},
		"late, nearly too late":  {time.Hour, testLinger - 1},
		"late, by a whole check": {5 * time.Second, testLinger - 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(p *pair, half bool) {
				p.open(1)
				p.drain(0)
				p.setAcks(false)
				p.end(1)
				p.state(Idle)
				time.Sleep(tc.proof)
				_ = p.w.WritePing(true, proofData)
				if tc.gap > 0 {
					p.fromClient()
					time.Sleep(tc.gap)
				}
				p.open(3)
				time.Sleep(time.Minute)
				p.state(Acknowledged)
				p.end(3)
				p.setAcks(true)
				_ = p.w.WritePing(true, proofData)
				p.fromClient()
				p.closedAfter(testLinger+eofWaitIf(half), Clean)
			})
		})
	}
}

// A client may open a stream at the very moment at which the connection is closed. The last
// word names the newest stream that the server has read. What comes later does not reach the
// server, so the client may retry it elsewhere.
func TestNothingIsServedAfterTheLastWord(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.open(1)
		p.open(3)
		p.end(3)
		p.end(1)
		p.drain(0)
		p.state(Idle)
		p.setAcks(false)
		time.Sleep(testLinger)
		p.got("HEADERS", "HEADERS", "PING evenhold", "GOAWAY bye", "PING evenkeel", "GOAWAY last=3 NO_ERROR", endIf(half))
		before := p.servedBytes()
		p.w.headers(5, true, true)
		_ = p.w.WriteData(5, true, []byte("a request"))
		p.fromClient()
		p.open(7)
		if n := p.servedBytes() - before; n != 0 {
			p.t.Errorf("the server got %d bytes of requests that the client may retry elsewhere, want 0", n)
		}
		p.end(5) // a server that answers all the same
		_ = p.client.Close()
		p.closedAfter(0, Clean)
	})
}

// The same holds for a server that reads with ReadOnReady, as grpc-go does.
func TestReadOnReadyReturnsNothingAfterTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPairServedBy(t, pipes, func(p *pair) {
			for {
				buf, n, err := p.c.ReadOnReady(100, mem.DefaultBufferPool())
				if err != nil {
					break
				}
				_, _ = servedBy{p}.Write((*buf)[:n])
				mem.DefaultBufferPool().Put(buf)
			}
			_ = p.c.Close()
		})
		p.drain(0)
		time.Sleep(testLinger)
		p.state(Idle)
		before := p.servedBytes()
		for id := uint32(1); id < 20; id += 2 {
			p.open(id)
		}
		if n := p.servedBytes() - before; n != 0 {
			t.Errorf("ReadOnReady returned %d bytes after the last word, want 0", n)
		}
		_ = p.client.Close()
		p.closedAfter(0, Clean)
	})
}

// The last word waits for the end of the frame that the server is writing, and takes the
// place of what the server writes after it.
func TestLastWordWaitsForTheFrame(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.drain(0)
		p.state(Idle)
		p.setAcks(false)
		_ = p.w.WriteSettingsAck()
		_ = p.w.WritePing(false, [8]byte{1})
		b := p.w.take()
		p.w.Write(b[:5])
		p.fromServer()
		time.Sleep(testLinger)
		p.got("GOAWAY bye", "PING evenkeel")
		p.w.Write(b[5:])
		p.fromServer()
		p.got("GOAWAY bye", "PING evenkeel", "SETTINGS", "GOAWAY last=0 NO_ERROR", endIf(half))
	})
}

// A server's own last GOAWAY may name an older stream than the newest one. Ours must not
// rise above it (RFC 9113, section 6.8).
func TestLastWordDoesNotRise(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.open(1)
		p.open(3)
		p.drain(0)
		p.state(Acknowledged)
		_ = p.w.WriteGoAway(1, 0, nil)
		p.fromServer()
		p.end(1)
		p.state(Idle)
		p.closedAfter(testLinger+eofWaitIf(half), Clean)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "GOAWAY last=1 NO_ERROR", "HEADERS", "PING evenkeel", "GOAWAY last=1 NO_ERROR", endIf(half), "EOF")
	})
}

// A grace may end before the GOAWAY could be written. The last word is the first GOAWAY then.
func TestLastWordIsTheOnlyGoAway(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		_ = p.w.WriteSettingsAck()
		b := p.w.take()
		p.w.Write(b[:3])
		p.fromServer()
		p.drain(time.Second)
		time.Sleep(time.Second)
		p.setAcks(false)
		p.w.Write(b[3:])
		p.fromServer()
		p.closedAfter(wantEOFWait, Clean)
		p.rec.want(p.t, "goaway ours=true", "closed: clean")
	})
}

// A Conn that has lost its place in the frames does not know which streams are open. The end
// of the grace cuts them off.
func TestGraceOfLostConnection(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.drain(time.Minute)
		p.state(Idle)
		_ = p.w.WriteRawFrame(http2.FrameContinuation, 0, 1, nil)
		p.fromServer()
		p.closedAfter(time.Minute, Forced)
	})
}

func TestWriteAfterTheEnd(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.drain(0)
		p.closedAfter(testLinger+eofWaitIf(half), Clean)
		if n, err := p.c.Write([]byte("too late")); n != 0 || !errors.Is(err, net.ErrClosed) {
			p.t.Errorf("Write on a closed connection returned %d, %v, want 0, %v", n, err, net.ErrClosed)
		}
	})
}
