package h2conn

import (
	"bytes"
	"io"
	"net"

	"golang.org/x/net/http2"
)

// The payloads of our PINGs differ, since the ACK of one proves nothing about the
// other. They must also differ from those that grpc-go waits for: the PINGs of its
// drain and of its bandwidth estimator.
const (
	proofPayload = "evenkeel"
	holdPayload  = "evenhold"
	lastPayload  = "evenlast"
)

var (
	proofData = [8]byte([]byte(proofPayload))
	holdData  = [8]byte([]byte(holdPayload))
	lastData  = [8]byte([]byte(lastPayload))
)

// OwnPing reports whether the payload of a PING is that of one that a Conn writes. A program
// that passes bytes on to a server must keep their acknowledgements to itself: a server may end
// a connection with one that it has not asked for.
func OwnPing(payload []byte) bool {
	p := string(payload)
	return p == proofPayload || p == holdPayload || p == lastPayload
}

// pingSet is a set of our PINGs.
type pingSet uint8

const (
	proofPing pingSet = 1 << iota // its ACK proves that the client has read all before it
	holdPing                      // the server's writes are held until its ACK arrives
	lastPing                      // its ACK proves that the client has read the last word
)

// maxDebug bounds a GOAWAY's debug data, far below the 16 KiB that every peer
// must accept in a frame.
const maxDebug = 1024

// These are the frames that may be pending. The first two are pending no more once
// the connection is lost, closing or Closed, or its client is gone. The last word is
// pending only while the connection is closing.
const (
	pendingGoAway = 1 << iota // and a proof PING after it
	pendingProof
	pendingLast
)

// Write writes p to the client. If a GOAWAY is pending, Write injects it at the
// first place in or after p where one may stand. n counts only the bytes of p.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writeMu.lock()
	if c.pending.Load() != 0 {
		n, err = c.writeAround(p)
	} else {
		n, err = c.forward(p)
	}
	c.endWrite()
	c.notify()
	return n, err
}

// endWrite injects what is pending, if a frame may stand here, and releases
// writeMu.
func (c *Conn) endWrite() {
	for again := true; again; again = c.release() {
		if c.pending.Load() != 0 && c.out.canInject() {
			_ = c.inject() // an error is recorded and clears pending
		}
	}
}

// release unlocks writeMu. It takes writeMu back and returns true if a frame has
// become pending at the last moment and may be injected here. If it may not, the
// next write injects it.
//
// Other goroutines set pending first and then try to lock; release unlocks first
// and then checks pending. So at least one of the two sees the other.
func (c *Conn) release() (again bool) {
	ok := c.out.canInject()
	c.writeMu.unlock()
	return c.pending.Load() != 0 && ok && c.writeMu.tryLock()
}

// flush injects what is pending, unless a writer is at work: it does so itself.
func (c *Conn) flush() {
	if c.writeMu.tryLock() {
		c.endWrite()
	}
	c.notify()
}

// writeAround injects at the first possible place inside p. If there is none, it
// leaves that to endWrite.
func (c *Conn) writeAround(p []byte) (n int, err error) {
	at, ok := c.out.injectionPoint(p)
	if !ok || at == len(p) {
		return c.forward(p)
	}
	if at > 0 {
		if n, err = c.forward(p[:at]); err != nil {
			return n, err
		}
	}
	if err = c.inject(); err != nil {
		return n, err
	}
	m, err := c.forward(p[n:])
	return n + m, err
}

// forward writes p and follows the part that was written: a stream has ended only
// when its last byte is out. Nothing follows the last word, so what the server
// writes after it is dropped.
func (c *Conn) forward(p []byte) (int, error) {
	if c.out.over == lastWord {
		return c.drop(p)
	}
	n, err := c.Conn.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite // grpc-go looks at the error alone
	}
	c.written(p[:max(0, min(n, len(p)))])
	if err != nil {
		c.writeFailed(err)
	}
	return n, err
}

// drop takes what the server writes after the last word.
func (c *Conn) drop(p []byte) (int, error) {
	if c.State() == Closed {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// written follows the frames in p, which was written. Most frames mean nothing to
// the connection, so mu is locked only at the first one that does.
func (c *Conn) written(p []byte) {
	locked := false
	for len(p) > 0 {
		if mayBePlain(p) {
			if p = c.out.skipPlain(p); len(p) == 0 {
				break
			}
		}
		var ev event
		if p, ev = c.out.next(p); ev == nothing {
			continue
		}
		if !locked {
			locked = true
			c.mu.Lock()
		}
		c.onWrittenLocked(ev)
	}
	if locked {
		c.mu.Unlock()
	}
}

// inject writes the pending frames, after the hold if there is one.
func (c *Conn) inject() error {
	if c.pending.Load()&pendingLast != 0 {
		return c.sayLast()
	}
	if err := c.hold(); err != nil {
		return err
	}
	frames := c.takePending()
	if frames == nil {
		return nil
	}
	if err := c.writeFrames(frames); err != nil {
		return err
	}
	c.injected()
	return nil
}

// writeFrames writes frames of ours, which out does not follow. If that fails, the
// connection is closed: the server knows nothing of these frames and would go on
// writing in the middle of one.
func (c *Conn) writeFrames(frames []byte) error {
	n, err := c.Conn.Write(frames)
	if err == nil && n < len(frames) {
		err = io.ErrShortWrite
	}
	if err != nil {
		c.writeFailed(err)
		_ = c.Close()
	}
	return err
}

// takePending returns the pending frames, or nil if there are none. The proof PING
// counts as in flight from here on, since its ACK may be read before the write
// returns.
func (c *Conn) takePending() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	pending := c.pending.Load() &^ pendingLast
	c.pending.And(pendingLast)
	if pending == 0 {
		return nil
	}
	var buf bytes.Buffer
	fr := http2.NewFramer(&buf, nil)
	if pending&pendingGoAway != 0 {
		_ = fr.WriteGoAway(maxStreamID, http2.ErrCodeNo, []byte(c.drain.debug))
	}
	_ = fr.WritePing(false, proofData)
	c.proofInFlight = true
	c.unread = false
	return buf.Bytes()
}
