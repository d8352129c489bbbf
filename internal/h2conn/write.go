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
type ours uint8

const (
	proofPing ours = 1 << iota // proves that what was sent before it has been read
	holdPing                   // the server's writes are held until it comes back
)

// maxDebug bounds a GOAWAY's debug data, far below the 16 KiB that every peer
// must accept in a frame.
const maxDebug = 1024

// need is what is to be injected.
type need uint8

const (
	needGoAway need = 1 << iota // and a PING after it
	needPing
)

// Write passes p on. If the connection has been asked to leave, the GOAWAY is
// written at the first place in or after p where one may stand; n counts the
// bytes of p alone.
func (c *Conn) Write(p []byte) (n int, err error) {
	needed := c.beginWrite()
	if needed {
		n, err = c.writeAround(p)
	} else {
		n, err = c.pass(p)
	}
	c.endWrite()
	c.tellNews()
	return n, err
}

// beginWrite waits for its turn. There is no mutex to wait for, since the one
// before may be stuck for long: a goroutine that waits in a channel lets the
// virtual time of a test go on.
func (c *Conn) beginWrite() (needed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writing {
		if c.freed == nil {
			c.freed = make(chan struct{})
		}
		freed := c.freed
		c.mu.Unlock()
		<-freed
		c.mu.Lock()
	}
	c.writing = true
	return c.neededLocked()
}

// tryWrite is beginWrite for those who must not wait. If it returns false,
// whoever is writing sees to what is needed before it ends.
func (c *Conn) tryWrite() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		return false
	}
	c.writing = true
	return true
}

// endWrite lets the next one write, once nothing is needed that can be done
// here. Both are decided under one lock: a Leave comes either before, and is
// served here, or after, and finds nobody writing.
func (c *Conn) endWrite() {
	for !c.freeWrite() {
		_ = c.inject() // an error has been noted and ends the need
	}
}

func (c *Conn) freeWrite() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.neededLocked() && c.out.gap() {
		return false
	}
	c.writing = false
	if c.freed != nil {
		close(c.freed)
		c.freed = nil
	}
	return true
}

// flush injects what is needed, if nobody is writing.
func (c *Conn) flush() {
	c.tellNews() // the write may take long
	if c.tryWrite() {
		c.endWrite()
	}
	c.tellNews()
}

// neededLocked tells whether something is to be injected.
func (c *Conn) neededLocked() bool {
	return c.need != 0 && !c.broken && !c.closing
}

// writeAround injects at the first place in p, or leaves it to endWrite.
func (c *Conn) writeAround(p []byte) (n int, err error) {
	at, ok := c.out.cut(p)
	if !ok || at == len(p) {
		return c.pass(p)
	}
	if at > 0 {
		if n, err = c.pass(p[:at]); err != nil {
			return n, err
		}
	}
	if err = c.inject(); err != nil {
		return n, err
	}
	m, err := c.pass(p[n:])
	return n + m, err
}

// pass writes p and follows what has been written of it. A stream ends only
// when its last byte is out.
func (c *Conn) pass(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	for rest := p[:max(0, min(n, len(p)))]; len(rest) > 0; {
		var ev event
		if rest, ev = c.out.next(rest); ev != nothing {
			c.onWritten(ev)
		}
	}
	if err != nil || n < len(p) {
		c.writeFailed(err)
	}
	return n, err
}

// inject writes what is needed.
func (c *Conn) inject() error {
	if err := c.hold(); err != nil {
		return err
	}
	frames := c.compose()
	if frames == nil {
		return nil
	}
	if err := c.writeOwn(frames); err != nil {
		return err
	}
	c.injected()
	return nil
}

// writeOwn writes frames of ours.
func (c *Conn) writeOwn(frames []byte) error {
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
func (c *Conn) compose() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.neededLocked() {
		return nil
	}
	var buf bytes.Buffer
	fr := http2.NewFramer(&buf, nil)
	if c.need&needGoAway != 0 {
		_ = fr.WriteGoAway(maxStreamID, http2.ErrCodeNo, []byte(c.exit.debug))
		c.sending = true
	}
	_ = fr.WritePing(false, proofData)
	c.need = 0
	c.pings++
	c.unread = false
	return buf.Bytes()
}
