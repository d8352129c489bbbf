package h2conn

import (
	"bytes"
	"io"

	"golang.org/x/net/http2"
)

// The payloads of our PINGs. They must be none that grpc-go waits for itself,
// neither that of its drain nor that of its bandwidth estimator, and differ: the
// ACK of the one proves nothing about the other.
const (
	proofPayload = "evenkeel"
	holdPayload  = "evenhold"
)

var (
	proofData = [8]byte([]byte(proofPayload))
	holdData  = [8]byte([]byte(holdPayload))
)

// ours is a set of our PINGs.
type pingSet uint8

const (
	proofPing pingSet = 1 << iota // proves that what was sent before it has been read
	holdPing                      // the server's writes are held until it comes back
)

// maxDebug bounds a GOAWAY's debug data, far below the 16 KiB that every peer
// must accept in a frame.
const maxDebug = 1024

// What may have to be injected. None of it is needed any more once the connection is
// lost, broken, closing or ended.
const (
	pendingGoAway = 1 << iota // and a PING after it
	pendingProof
)

// Write passes p on. If the connection has been asked to leave, the GOAWAY is
// written at the first place in or after p where one may stand; n counts the
// bytes of p alone.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writeMu.lock()
	if c.pending.Load() != 0 {
		n, err = c.writeAround(p)
	} else {
		n, err = c.forward(p)
	}
	// Without a write buffer grpc-go makes no transport of a connection that is lost with the
	// first write, and closes only the one that it was accepted as.
	noTransport := err != nil && !c.out.settingsSent
	c.endWrite()
	if noTransport {
		_ = c.Close()
	}
	c.notify()
	return n, err
}

// endWrite injects what is needed, if that can be done here, and gives the turn back.
func (c *Conn) endWrite() {
	for again := true; again; again = c.release() {
		if c.pending.Load() != 0 && c.out.canInject() {
			_ = c.inject() // an error has been noted and ends the need
		}
	}
}

// release gives the turn back, unless something is needed that came at the last moment.
// Who needs something says so and then tries to take the turn; here the turn is given
// back and then looked at what is needed: so one of the two sees the other. Where
// nothing can be injected, the next write sees to it.
func (c *Conn) release() (again bool) {
	gap := c.out.canInject()
	c.writeMu.unlock()
	return c.pending.Load() != 0 && gap && c.writeMu.tryLock()
}

// flush injects what is needed, if nobody is writing.
func (c *Conn) flush() {
	if c.writeMu.tryLock() {
		c.endWrite()
	}
	c.notify()
}

// writeAround injects at the first place in p, or leaves it to endWrite.
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

// pass writes p and follows what has been written of it. A stream ends only
// when its last byte is out.
func (c *Conn) forward(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written(p[:max(0, min(n, len(p)))])
	if err != nil || n < len(p) {
		c.writeFailed(err)
	}
	return n, err
}

// written follows what was written. Most frames mean nothing to the connection: the
// lock is taken with the first that does.
func (c *Conn) written(p []byte) {
	locked := false
	for len(p) > 0 {
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

// inject writes what is needed.
func (c *Conn) inject() error {
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

// writeFrames writes frames of ours.
func (c *Conn) writeFrames(frames []byte) error {
	n, err := c.Conn.Write(frames)
	if err == nil && n < len(frames) {
		err = io.ErrShortWrite
	}
	if err != nil {
		c.writeFailed(err)
	}
	return err
}

// compose returns the frames that are needed, nil for none. The PING counts as
// sent from here on: its ACK may be read before the write returns.
func (c *Conn) takePending() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	pending := c.pending.Swap(0)
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
