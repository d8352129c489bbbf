package h2conn

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// refClient is a strict client of RFC 9113. It opens no stream once it has read a GOAWAY. It
// answers PINGs in their order, but maybe late, and maybe before the HEADERS of streams that
// it opened earlier: section 6.7 gives PINGs a higher priority.
type refClient struct {
	l      *link
	w      *wire
	unread []byte // received, but no whole frame yet

	nextID  uint32
	waiting []uint32  // opened, but HEADERS not sent
	sent    []uint32  // HEADERS sent
	reset   []uint32  // RST_STREAM sent
	acks    [][8]byte // PINGs to answer
	pings   byte      // its own PINGs
	goAway  bool
	over    bool // it has read to the end
}

func newRefClient(l *link) *refClient {
	c := &refClient{l: l, w: newWire(), nextID: 1}
	c.w.WriteString(http2.ClientPreface)
	_ = c.w.WriteSettings()
	l.send(c.w.take())
	return c
}

func (c *refClient) open() {
	if !c.goAway && !c.over {
		c.waiting = append(c.waiting, c.nextID)
		c.nextID += 2
	}
}

// send sends the HEADERS of the n oldest streams that wait.
func (c *refClient) send(n int) {
	for range min(n, len(c.waiting)) {
		c.w.headers(c.waiting[0], true, true)
		c.sent, c.waiting = append(c.sent, c.waiting[0]), c.waiting[1:]
	}
	c.l.send(c.w.take())
}

func (c *refClient) cancel(i int) {
	id := c.sent[i]
	if !slices.Contains(c.reset, id) {
		c.reset = append(c.reset, id)
		_ = c.w.WriteRSTStream(id, http2.ErrCodeCancel)
		c.l.send(c.w.take())
	}
}

func (c *refClient) ping() {
	c.pings++
	_ = c.w.WritePing(false, [8]byte{c.pings})
	c.l.send(c.w.take())
}

// answer answers the n oldest PINGs.
func (c *refClient) answer(n int) {
	for range min(n, len(c.acks)) {
		_ = c.w.WritePing(true, c.acks[0])
		c.acks = c.acks[1:]
	}
	c.l.send(c.w.take())
}

// read reads at most n bytes.
func (c *refClient) read(n int) {
	b, over := c.l.receive(n)
	c.over = c.over || over
	c.unread = append(c.unread, b...)
	frames, rest, _ := parseRaw(c.unread)
	for _, f := range frames {
		switch {
		case f.is(http2.FramePing) && !f.has(http2.FlagPingAck) && len(f.payload) == 8:
			c.acks = append(c.acks, [8]byte(f.payload))
		case f.is(http2.FrameGoAway):
			c.goAway = true
		}
	}
	c.unread = c.unread[rest.start:]
}

// output is what a server writes at a time.
type output struct {
	b   []byte
	end uint32 // the stream that it ends, or 0
}

// refServer is a server like grpc-go: it closes the connection when a read or a write fails.
type refServer struct {
	c     *Conn
	piece int         // the longest write
	queue chan output // what the writer writes
	wg    sync.WaitGroup

	mu       sync.Mutex
	w        *wire
	in, out  []byte // what it has read, and what Write has accepted
	open     []uint32
	executed []uint32
	headed   map[uint32]bool // streams whose answer has begun
	canceled map[uint32]bool // streams that the client has canceled
	last     uint32          // of its own GOAWAY
	drained  bool            // it has sent one
	quit     bool
	ended    time.Time // when a stream was last ended
	proofs   int       // how many were acknowledged
	acked    time.Time // when a proof was last acknowledged
}

func newRefServer(c *Conn, piece int) *refServer {
	s := &refServer{c: c, piece: piece, queue: make(chan output, 1000), w: newWire(), headed: map[uint32]bool{}, canceled: map[uint32]bool{}, last: maxStreamID}
	s.wg.Go(s.read)
	s.wg.Go(s.write)
	return s
}

// begin writes SETTINGS.
func (s *refServer) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.w.WriteSettings()
	s.enqueue(0)
}

func (s *refServer) read() {
	parsed := len(http2.ClientPreface)
	for buf := make([]byte, 64); ; {
		n, err := s.c.Read(buf)
		s.mu.Lock()
		s.in = append(s.in, buf[:n]...)
		if len(s.in) >= parsed {
			frames, rest, _ := parseRaw(s.in[parsed:])
			for _, f := range frames {
				s.handle(f)
			}
			parsed += rest.start
		}
		s.mu.Unlock()
		if err != nil {
			_ = s.c.Close()
			s.stop()
			return
		}
	}
}

// handle handles a frame of the client. A stream above its own GOAWAY is not executed.
func (s *refServer) handle(f rawFrame) {
	switch {
	case f.is(http2.FrameHeaders) && f.id <= s.last:
		s.executed, s.open = append(s.executed, f.id), append(s.open, f.id)
	case f.is(http2.FrameRSTStream):
		s.canceled[f.id] = true
		s.remove(f.id)
	case f.is(http2.FramePing) && !f.has(http2.FlagPingAck):
		_ = s.w.WritePing(true, [8]byte(f.payload))
		s.enqueue(0)
	case f.is(http2.FramePing) && string(f.payload) == proofPayload:
		s.acked = time.Now()
		s.proofs++
	}
}

func (s *refServer) remove(id uint32) {
	if i := slices.Index(s.open, id); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
		s.ended = time.Now()
	}
}

func (s *refServer) write() {
	for o := range s.queue {
		for b := o.b; len(b) > 0; {
			n, err := s.c.Write(b[:min(len(b), s.piece)])
			s.mu.Lock()
			s.out = append(s.out, b[:n]...)
			if o.end > 0 && n == len(b) && !s.canceled[o.end] {
				s.ended = time.Now()
			}
			s.mu.Unlock()
			if err != nil {
				_ = s.c.Close()
				s.stop()
				return
			}
			b = b[n:]
		}
	}
}

func (s *refServer) enqueue(end uint32) {
	if b := s.w.take(); !s.quit && len(b) > 0 {
		s.queue <- output{b, end}
	}
}

// stop ends the writer. What is queued is still written if the connection lives.
func (s *refServer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.quit {
		s.quit = true
		close(s.queue)
	}
}

// inFlight returns the streams that the server has yet to answer.
func (s *refServer) inFlight() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.open)
}

// answer writes a part of an answer, or its end.
func (s *refServer) answer(i int, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.open) {
		return
	}
	id := s.open[i]
	if !s.headed[id] {
		s.headed[id] = true
		s.w.headers(id, false, false)
		_ = s.w.WriteContinuation(id, true, []byte("and more"))
	}
	_ = s.w.WriteData(id, false, []byte("some data"))
	if end {
		s.w.headers(id, true, true)
		s.remove(id)
		s.enqueue(id)
		return
	}
	s.enqueue(0)
}

// goAway sends a GOAWAY of the server's own. A final one names the newest stream, as the
// second one of GracefulStop does.
func (s *refServer) goAway(final bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if final {
		s.last = slices.Max(append(s.executed, 0))
	}
	s.drained = true
	_ = s.w.WriteGoAway(s.last, http2.ErrCodeNo, []byte("stopping"))
	s.enqueue(0)
}
