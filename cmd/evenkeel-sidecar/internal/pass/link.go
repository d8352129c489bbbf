package pass

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/mem"
)

// bufferSize is what one read takes at most: two of the largest frames that grpc-go writes.
const bufferSize = 32 << 10

// buffers has the buffers of all links. A link holds one while bytes pass, so a side that does
// not read costs one for each direction.
var buffers mem.BufferPool = &pool{}

type pool struct{ free sync.Pool }

// Get returns a buffer of bufferSize. Nobody asks for a longer one.
func (p *pool) Get(n int) *[]byte {
	buf, _ := p.free.Get().(*[]byte)
	if buf == nil {
		b := make([]byte, bufferSize)
		buf = &b
	}
	*buf = (*buf)[:min(n, bufferSize)]
	return buf
}

// Put takes the buffer back.
func (p *pool) Put(buf *[]byte) { p.free.Put(buf) }

// finWait is how long a client that sends nothing may leave its side open after the upstream
// has ended its own. The kernel waits as long for the client of a server that has closed
// (tcp_fin_timeout).
const finWait = time.Minute

// Link joins a client's connection and an upstream connection.
type Link struct {
	client, upstream Side

	clientEnded, upstreamEnded   atomic.Bool // it sends no more
	clientBroken, upstreamBroken atomic.Bool
	upstreamLeft                 atomic.Bool

	// writing is when the write to the client began that goes on, in Unix nanoseconds; 0: none does.
	writing atomic.Int64

	passing atomic.Int32 // directions that go on
	ended   func()
}

// New returns a Link. Nothing passes before Start.
func New(client, upstream Side) *Link { return &Link{client: client, upstream: upstream} }

// Start passes bytes until both sides have ended, or one has broken. It then closes both and
// calls ended. Start returns at once: its two goroutines are new ones, whose stacks are small.
func (l *Link) Start(ended func()) {
	l.passing.Store(2)
	l.ended = ended
	go l.passToUpstream()
	go l.passToClient()
}

// directionEnded is called at the end of each direction.
func (l *Link) directionEnded() {
	if l.passing.Add(-1) == 0 {
		l.end()
		l.ended()
	}
}

// Close ends both sides now. It may be called at any time, and more than once.
func (l *Link) Close() {
	_ = l.upstream.Close()
	_ = l.client.Close()
}

// end closes both sides. A side whose other side has broken is reset.
func (l *Link) end() {
	closeAs(l.upstream, l.clientBroken.Load())
	closeAs(l.client, l.upstreamBroken.Load())
}

func closeAs(s Side, broken bool) {
	if broken {
		s.Reset()
		return
	}
	_ = s.Close()
}

// passToUpstream passes on what the client sends.
func (l *Link) passToUpstream() {
	defer l.directionEnded()
	read, written := l.copyToUpstream()
	switch {
	case isReset(written):
		// What the upstream has sent before may still be on its way to the client. The other
		// direction passes that on, and ends there.
		l.upstreamBroken.Store(true)
	case errors.Is(read, io.EOF):
		l.clientEnded.Store(true)
		_ = l.upstream.CloseWrite() // an error shows in the other direction
	default:
		l.clientEnded.Store(true)
		note(&l.clientBroken, read)
		l.end()
	}
}

// passToClient passes on what the upstream sends.
func (l *Link) passToClient() {
	defer l.directionEnded()
	read, written := l.copyToClient()
	l.upstreamLeft.Store(written == nil && !l.clientEnded.Load())
	switch {
	case written != nil:
		note(&l.clientBroken, written)
	case errors.Is(read, io.EOF):
		l.upstreamEnded.Store(true)
		l.endToClient()
	default:
		note(&l.upstreamBroken, read)
		l.end()
	}
}

// endToClient passes the end of the upstream on. If a write has met a reset, which the kernel
// reports once, the end is none.
func (l *Link) endToClient() {
	if l.upstreamBroken.Load() || l.client.CloseWrite() != nil {
		l.end()
		return
	}
	l.boundClient()
}

// boundClient bounds the wait for the next bytes of the client.
func (l *Link) boundClient() { _ = l.client.SetReadDeadline(time.Now().Add(finWait)) }

// copyToUpstream ends with an error of reading, or with a reset of the upstream. An upstream
// that has closed the connection takes no more. What the client still sends is then dropped,
// as the kernel of a server drops it: a reset could destroy what the client has yet to read.
func (l *Link) copyToUpstream() (read, written error) {
	for {
		var buf *[]byte
		var n int
		buf, n, read = l.client.ReadOnReady(bufferSize, buffers)
		if written == nil {
			written = put(l.upstream, buf, n)
		} else if buf != nil {
			buffers.Put(buf)
		}
		if read != nil || isReset(written) {
			return read, written
		}
		if l.upstreamEnded.Load() {
			l.boundClient()
		}
	}
}

func (l *Link) copyToClient() (read, written error) {
	for {
		buf, n, err := l.upstream.ReadOnReady(bufferSize, buffers)
		l.writing.Store(time.Now().UnixNano())
		written = put(l.client, buf, n)
		l.writing.Store(0)
		if written != nil || err != nil {
			return err, written
		}
	}
}

// CloseStalled closes both sides if the client has taken nothing for a minute although the
// upstream has left. While a write to the client lasts, nobody reads from the upstream, so its
// end is not seen. The kernel of a server that has closed the connection gives up such a client,
// too. left reports whether the upstream has left.
func (l *Link) CloseStalled(left func() bool) {
	began := l.writing.Load()
	if began != 0 && time.Since(time.Unix(0, began)) > finWait && left() {
		l.Close()
	}
}

// put writes what was read and gives the buffer back.
func put(to Side, buf *[]byte, n int) error {
	if buf == nil {
		return nil
	}
	defer buffers.Put(buf)
	_, err := to.Write((*buf)[:n])
	return err
}

// note notes that a side has broken. An end by this process, and a deadline, are no break.
func note(broken *atomic.Bool, err error) {
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		broken.Store(true)
	}
}

// isReset reports whether a write has met a reset. After an orderly end of the other side, the
// error of a write is another one (EPIPE).
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// UpstreamLeft reports whether the upstream has ended or broken the connection before the
// client had.
func (l *Link) UpstreamLeft() bool { return l.upstreamLeft.Load() }
