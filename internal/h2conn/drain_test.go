package h2conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

const (
	testLinger = 3 * time.Second
	// What is documented, not what the code says.
	wantEOFWait = 5 * time.Second
)

// duplex is one end of a connection that can be half-closed: two pipes.
type duplex struct {
	net.Conn // read
	w        net.Conn
}

func (d duplex) Write(p []byte) (int, error) { return d.w.Write(p) }
func (d duplex) CloseWrite() error           { return d.w.Close() }

func (d duplex) Close() error {
	_ = d.w.Close()
	return d.Conn.Close()
}

func pipes() (a, b net.Conn) {
	r1, w1 := net.Pipe()
	r2, w2 := net.Pipe()
	return duplex{r1, w2}, duplex{r2, w1}
}

// pair is a connection with a client that never closes it by itself, and a
// server that reads until it fails and then closes, as grpc-go does.
type pair struct {
	t      *testing.T
	c      *Conn
	client net.Conn
	rec    *recorder
	w      *wire // composes what the client or the server writes
	start  time.Time
	walk   []State // each state that was seen

	mu     sync.Mutex
	frames []string
	acks   bool // the client acknowledges PINGs
	paused chan struct{}
}

// newPair makes a pair in which SETTINGS have been exchanged.
func newPair(t *testing.T, ends func() (net.Conn, net.Conn)) *pair {
	srv, cli := ends()
	rec := newRecorder()
	p := &pair{
		t: t, c: New(srv, &Config{Linger: testLinger}, rec), client: cli, rec: rec,
		w: newWire(), acks: true, start: time.Now(), walk: []State{Open},
	}
	go p.serve()
	go p.read()
	p.w.WriteString(http2.ClientPreface)
	_ = p.w.WriteSettings()
	p.fromClient()
	_ = p.w.WriteSettings()
	p.fromServer()
	t.Cleanup(func() {
		_ = p.client.Close()
		_ = p.c.Close()
	})
	return p
}

func (p *pair) serve() {
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{p.c})
	_ = p.c.Close()
}

// read is the client: it notes the frames that it gets, and acknowledges PINGs.
func (p *pair) read() {
	fr := http2.NewFramer(p.client, p.client)
	for {
		p.mu.Lock()
		paused := p.paused
		p.mu.Unlock()
		if paused != nil {
			<-paused
		}
		f, err := fr.ReadFrame()
		p.mu.Lock()
		acks := p.acks
		if err != nil {
			p.frames = append(p.frames, "EOF")
		} else {
			p.frames = append(p.frames, describe(f))
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
		if ping, ok := f.(*http2.PingFrame); ok && acks {
			_ = fr.WritePing(true, ping.Data)
		}
	}
}

func describe(f http2.Frame) string {
	switch f := f.(type) {
	case *http2.GoAwayFrame:
		if f.LastStreamID == maxStreamID && f.ErrCode == http2.ErrCodeNo {
			return "GOAWAY " + string(f.DebugData())
		}
		return "GOAWAY low"
	case *http2.PingFrame:
		return "PING " + string(f.Data[:])
	}
	return f.Header().Type.String()
}

func (p *pair) fromClient() {
	p.t.Helper()
	if _, err := p.client.Write(p.w.take()); err != nil {
		p.t.Fatal(err)
	}
	p.look()
}

func (p *pair) fromServer() {
	p.t.Helper()
	if _, err := p.c.Write(p.w.take()); err != nil {
		p.t.Fatal(err)
	}
	p.look()
}

// open lets the client open a stream, end lets the server end it.
func (p *pair) open(id uint32) { p.w.headers(id, true, true); p.fromClient() }
func (p *pair) end(id uint32)  { p.w.headers(id, true, true); p.fromServer() }

func (p *pair) leave(grace time.Duration) {
	p.t.Helper()
	if !p.c.Drain("bye", grace) {
		p.t.Fatal("Drain returned false")
	}
	p.look()
}

// look waits until nothing moves, and notes the state if it has changed.
func (p *pair) look() {
	synctest.Wait()
	if p.c == nil {
		return
	}
	if s := p.c.State(); s != p.walk[len(p.walk)-1] {
		p.walk = append(p.walk, s)
	}
}

// walked expects the states that were seen, from Open on.
func (p *pair) walked(want ...State) {
	p.t.Helper()
	p.look()
	if !slices.Equal(p.walk, want) {
		p.t.Fatalf("the connection was %v, want %v", p.walk, want)
	}
}

func (p *pair) setAcks(acks bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acks = acks
}

func (p *pair) got(want ...string) {
	p.t.Helper()
	p.look()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := p.frames[1:]; !slices.Equal(got, want) {
		p.t.Fatalf("after SETTINGS the client got %q, want %q", got, want)
	}
}

func (p *pair) state(want State) {
	p.t.Helper()
	p.look()
	wantState(p.t, p.c, want)
}

// closedAfter expects the connection to be closed after exactly d of virtual
// time.
func (p *pair) closedAfter(d time.Duration, want How) {
	p.t.Helper()
	from := time.Now()
	if how := <-p.rec.how; how != want {
		p.t.Fatalf("closed: %v, want %v", how, want)
	}
	if took := time.Since(from); took != d {
		p.t.Fatalf("closed after %v, want %v", took, d)
	}
	wantState(p.t, p.c, Closed)
}

// inBubble runs test with and without half-close below.
func inBubble(t *testing.T, test func(p *pair, half bool)) {
	t.Helper()
	for name, ends := range map[string]func() (net.Conn, net.Conn){"half-close": pipes, "pipe": net.Pipe} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(newPair(t, ends), name == "half-close") })
		})
	}
}

// onlyHalf is what a client that never closes costs where there is half-close.
func onlyHalf(half bool, d time.Duration) time.Duration {
	if half {
		return d
	}
	return 0
}

func TestClientThatNeverCloses(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.open(1)
		p.leave(0)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel")
		p.state(Acknowledged)
		time.Sleep(time.Hour) // a stream may last
		p.state(Acknowledged)
		p.end(1)
		p.state(Idle)
		p.closedAfter(testLinger+onlyHalf(half, wantEOFWait), Clean)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "HEADERS", "PING evenkeel", "EOF")
		p.rec.want(p.t, "goaway ours=true", "closed: clean")
		p.walked(Open, Acknowledged, Idle, Closed)
	})
}

// TestIdleClient needs no second PING: nothing was sent after the first.
func TestIdleClient(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.leave(0)
		p.state(Idle)
		p.closedAfter(testLinger+onlyHalf(half, wantEOFWait), Clean)
		p.got("GOAWAY bye", "PING evenkeel", "EOF")
	})
}

// TestClientClosesOnEOF ends the wait after the half-close.
func TestClientClosesOnEOF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pipes)
		p.leave(0)
		p.state(Idle)
		time.Sleep(testLinger)
		p.got("GOAWAY bye", "PING evenkeel", "EOF")
		p.state(Idle)
		_ = p.client.Close()
		p.closedAfter(0, Clean)
	})
}

func TestClientClosesFirst(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		p.leave(0)
		p.state(Draining)
		_ = p.client.Close()
		p.closedAfter(0, ByClient)
		p.rec.want(p.t, "goaway ours=true", "closed: client")
		p.walked(Open, Draining, Closed)
	})
}

func TestUnaskedEnds(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		_ = p.client.Close()
		p.closedAfter(0, ByClient)
		p.rec.want(p.t, "closed: client")
		p.walked(Open, Closed)
	})
	inBubble(t, func(p *pair, _ bool) {
		_ = p.c.Close()
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		p.rec.want(p.t, "closed: server")
		p.walked(Open, Closed)
		if p.c.Drain("bye", 0) {
			p.t.Error("a closed connection was asked to leave")
		}
	})
}

func TestGrace(t *testing.T) {
	const grace = time.Minute
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.leave(grace)
		p.closedAfter(grace, Forced)
		p.rec.want(p.t, "goaway ours=true", "closed: forced")
		p.walked(Open, Acknowledged, Closed)
	})
	inBubble(t, func(p *pair, half bool) { // never acknowledged, no stream
		p.setAcks(false)
		p.leave(grace)
		p.closedAfter(grace+onlyHalf(half, wantEOFWait), Clean)
		p.rec.want(p.t, "goaway ours=true", "closed: clean")
		p.walked(Open, Draining, Closed)
	})
	inBubble(t, func(p *pair, half bool) { // all well before the grace is over
		p.leave(grace)
		p.closedAfter(testLinger+onlyHalf(half, wantEOFWait), Clean)
	})
}

// TestReopened opens a stream in a quiet connection: it is not closed.
func TestReopened(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.leave(0)
		p.state(Idle)
		time.Sleep(testLinger - 1)
		p.open(1)
		p.state(Acknowledged)
		time.Sleep(time.Hour)
		p.end(1)
		p.state(Idle)
		p.closedAfter(testLinger+onlyHalf(half, wantEOFWait), Clean)
		p.rec.want(p.t, "goaway ours=true", "closed: clean")
		p.walked(Open, Idle, Acknowledged, Idle, Closed)
	})
}

// TestProof lets a client read the last trailers late, or never.
func TestProof(t *testing.T) {
	prepare := func(p *pair) {
		p.open(1)
		p.leave(0)
		p.state(Acknowledged)
		p.setAcks(false)
		p.end(1)
		p.state(Idle)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "HEADERS", "PING evenkeel")
	}
	inBubble(t, func(p *pair, half bool) {
		prepare(p)
		time.Sleep(testLinger + time.Second)
		p.state(Idle)
		_ = p.w.WritePing(true, proofData)
		p.fromClient()
		p.closedAfter(onlyHalf(half, wantEOFWait), Clean)
	})
	// A client that reads slowly is waited for, however long it takes.
	inBubble(t, func(p *pair, half bool) {
		prepare(p)
		time.Sleep(time.Hour)
		p.state(Idle)
		_ = p.w.WritePing(true, proofData)
		p.fromClient()
		p.closedAfter(onlyHalf(half, wantEOFWait), Clean)
	})
	// One that is gone is not.
	inBubble(t, func(p *pair, _ bool) {
		prepare(p)
		time.Sleep(time.Hour)
		_ = p.client.Close()
		p.closedAfter(0, ByClient)
	})
}

// TestReset ends streams by RST_STREAM from either side.
func TestReset(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.open(3)
		p.leave(0)
		_ = p.w.WriteRSTStream(1, http2.ErrCodeCancel)
		p.fromClient()
		p.state(Acknowledged)
		_ = p.w.WriteRSTStream(3, http2.ErrCodeNo)
		p.fromServer()
		p.state(Idle)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "RST_STREAM", "PING evenkeel")
	})
}

// TestForeignAck sends ACKs that are none of ours.
func TestForeignAck(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.setAcks(false)
		_ = p.w.WritePing(true, proofData) // before ours
		p.fromClient()
		p.leave(0)
		_ = p.w.WritePing(true, [8]byte{1, 6, 1, 8, 0, 3, 3, 9})
		_ = p.w.WritePing(false, proofData)
		_ = p.w.WriteRawFrame(http2.FramePing, http2.FlagPingAck, 0, []byte(proofPayload+"!"))
		_ = p.w.WriteRawFrame(http2.FramePing, http2.FlagPingAck, 1, []byte(proofPayload))
		p.fromClient()
		p.state(Draining)
		_ = p.w.WritePing(true, proofData)
		ack := p.w.take()
		for i := range ack {
			p.state(Draining)
			p.w.Write(ack[i : i+1])
			p.fromClient()
		}
		p.state(Idle)
	})
}

// TestServerGoesFirst is a drain of grpc-go itself: it is not ours to close.
func TestServerGoesFirst(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		leaving := p.c.Draining()
		_ = p.w.WriteGoAway(1<<32-1, http2.ErrCodeNo, []byte("max_age"))
		_ = p.w.WritePing(false, [8]byte{1, 6, 1, 8, 0, 3, 3, 9})
		p.fromServer()
		<-leaving
		if p.c.Drain("bye", time.Second) {
			p.t.Error("Leave returned true after a GOAWAY of the server")
		}
		_ = p.w.WriteGoAway(1, http2.ErrCodeNo, nil)
		p.fromServer()
		p.end(1)
		time.Sleep(time.Hour)
		p.state(Draining)
		p.got("GOAWAY max_age", "PING \x01\x06\x01\b\x00\x03\x03\t", "GOAWAY low", "HEADERS")
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		p.rec.want(p.t, "goaway ours=false", "closed: server")
		p.walked(Open, Draining, Closed)
	})
}

// TestServerGoesSecond passes the server's GOAWAYs after ours.
func TestServerGoesSecond(t *testing.T) {
	inBubble(t, func(p *pair, half bool) {
		p.open(1)
		p.leave(0)
		_ = p.w.WriteGoAway(1<<32-1, http2.ErrCodeNo, []byte("max_age"))
		p.fromServer()
		p.open(3) // refused by the next one
		_ = p.w.WriteGoAway(1, http2.ErrCodeNo, nil)
		p.fromServer()
		p.open(5) // and this as well
		if open, opened := p.c.Streams(); open != 1 || opened != 3 {
			p.t.Errorf("%d open, %d opened, want 1, 3", open, opened)
		}
		p.end(1)
		p.state(Idle)
		p.got("PING evenhold", "GOAWAY bye", "PING evenkeel", "GOAWAY max_age", "GOAWAY low", "HEADERS", "PING evenkeel")
		p.rec.want(p.t, "goaway ours=true")
		p.walked(Open, Acknowledged, Idle)
	})
}

// TestServerGoesBetween asks in the middle of the server's own GOAWAY: ours is
// not written, and the grace stands.
func TestServerGoesBetween(t *testing.T) {
	for _, last := range []uint32{1, 1<<32 - 1} {
		inBubble(t, func(p *pair, _ bool) {
			p.open(1)
			_ = p.w.WriteGoAway(last, http2.ErrCodeNo, nil)
			b := p.w.take()
			p.w.Write(b[:10])
			p.fromServer()
			p.leave(time.Minute)
			p.w.Write(b[10:])
			p.fromServer()
			_ = p.w.WriteSettingsAck()
			p.fromServer()
			p.state(Draining)
			p.mu.Lock()
			if n := len(p.frames); n != 3 { // SETTINGS, its GOAWAY, SETTINGS
				p.t.Errorf("the client got %q", p.frames)
			}
			p.mu.Unlock()
			p.closedAfter(time.Minute, Forced)
			p.rec.want(p.t, "goaway ours=false", "closed: forced")
			p.walked(Open, Draining, Closed)
		})
	}
}

// TestStalledClient asks while the writer is stuck: Leave returns at once, and
// the writer sends the GOAWAY later, in the right place.
func TestStalledClient(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.mu.Lock()
		p.paused = make(chan struct{})
		p.mu.Unlock()
		_ = p.w.WriteData(1, false, []byte("the frame that the client was waiting for"))
		p.fromServer() // ends the client's ReadFrame; then it pauses
		_ = p.w.WriteData(1, false, bytes.Repeat([]byte("x"), 1000))
		b := p.w.take()
		wrote := make(chan int)
		go func() {
			n, err := p.c.Write(b[:700]) // ends in mid-frame
			if err != nil {
				p.t.Error(err)
			}
			wrote <- n
			n, err = p.c.Write(b[700:])
			if err != nil {
				p.t.Error(err)
			}
			wrote <- n
		}()
		synctest.Wait()
		before := time.Now()
		p.leave(0)
		if time.Since(before) != 0 {
			p.t.Error("Leave waited")
		}
		time.Sleep(time.Hour)
		p.got("DATA")
		close(p.paused)
		p.mu.Lock()
		p.paused = nil
		p.mu.Unlock()
		if n, m := <-wrote, <-wrote; n != 700 || m != len(b)-700 {
			p.t.Errorf("Write returned %d, %d, want %d, %d", n, m, 700, len(b)-700)
		}
		p.got("DATA", "DATA", "PING evenhold", "GOAWAY bye", "PING evenkeel")
		p.state(Acknowledged)
	})
}

// TestStalledGoAway has our own frames stuck: the server's writer waits for its
// turn, and virtual time goes on.
func TestStalledGoAway(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.open(1)
		p.mu.Lock()
		p.paused = make(chan struct{})
		p.mu.Unlock()
		_ = p.w.WriteData(1, false, []byte("x"))
		p.fromServer()
		p.leave(time.Minute)
		wrote := make(chan error, 2)
		for range 2 {
			b := newWire()
			_ = b.WriteSettingsAck()
			go func() {
				_, err := p.c.Write(b.take())
				wrote <- err
			}()
		}
		p.closedAfter(time.Minute, Forced)
		if err := <-wrote; err == nil {
			p.t.Error("a write to a closed connection did not fail")
		}
		<-wrote
		close(p.paused)
	})
}

// TestLostLater loses the frames after the GOAWAY: the connection is not closed
// from here any more.
func TestLostLater(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		p.leave(0)
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

func TestLeaving(t *testing.T) {
	closed := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	inBubble(t, func(p *pair, _ bool) {
		early := p.c.Draining()
		if closed(early) || early != p.c.Draining() {
			p.t.Error("an open connection is leaving")
		}
		p.leave(0)
		if !closed(early) || !closed(p.c.Draining()) {
			p.t.Error("the connection is not leaving")
		}
	})
	inBubble(t, func(p *pair, _ bool) {
		p.leave(0)
		if !closed(p.c.Draining()) {
			p.t.Error("the connection is not leaving, asked late")
		}
	})
	inBubble(t, func(p *pair, _ bool) {
		early := p.c.Draining()
		_ = p.c.Close()
		if !closed(early) {
			p.t.Error("a closed connection is not leaving")
		}
	})
}

// TestLeaveOnce asks from many goroutines.
func TestLeaveOnce(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		var wg sync.WaitGroup
		yes := make(chan bool, 32)
		for range cap(yes) {
			wg.Go(func() { yes <- p.c.Drain("bye", 0) })
		}
		wg.Wait()
		close(yes)
		asked := 0
		for y := range yes {
			if y {
				asked++
			}
		}
		if asked != 1 {
			p.t.Errorf("%d calls asked", asked)
		}
		p.got("GOAWAY bye", "PING evenkeel")
	})
}

// lockingObserver takes a lock that its owner holds while it calls Drain, and
// calls back.
type lockingObserver struct {
	recorder
	owner sync.Mutex
	c     *Conn
}

func (o *lockingObserver) OnGoAway(ours bool) {
	o.callBack()
	o.recorder.OnGoAway(ours)
}

func (o *lockingObserver) OnLost(err error) {
	o.callBack()
	o.recorder.OnLost(err)
}

func (o *lockingObserver) OnClose(h How) {
	o.callBack()
	o.recorder.OnClose(h)
}

func (o *lockingObserver) callBack() {
	o.owner.Lock()
	defer o.owner.Unlock()
	_, _ = o.c.Streams()
	_ = o.c.State()
	_ = o.c.Drain("again", 0)
}

func TestObserverMayLockAndCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &lockingObserver{recorder: *newRecorder()}
		o.c = New(&memConn{}, nil, o)
		w := newWire()
		_ = w.WriteSettings()
		writeSome(t, o.c, w.take(), 100)
		o.owner.Lock()
		o.c.Drain("bye", 0)
		o.want(t) // nothing from within Drain
		o.owner.Unlock()
		synctest.Wait()
		o.want(t, "goaway ours=true")
		_ = w.WriteContinuation(1, true, nil) // of no header block
		writeSome(t, o.c, w.take(), 100)
		_ = o.c.Close()
		o.want(t, "goaway ours=true", "lost: "+ErrFrame.Error(), "closed: server")
	})
}

// TestLongDebug cuts debug data that no client must accept.
func TestLongDebug(t *testing.T) {
	inBubble(t, func(p *pair, _ bool) {
		if !p.c.Drain(string(bytes.Repeat([]byte("x"), 1<<20)), 0) {
			p.t.Fatal("Leave returned false")
		}
		p.got("GOAWAY "+string(bytes.Repeat([]byte("x"), maxDebug)), "PING evenkeel")
	})
}

// TestLostWhileAsked loses the frames before the GOAWAY could be written: it
// never is.
func TestLostWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc := &memConn{in: []byte("GET / HTTP/1.1\r\n\r\n")}
		rec := newRecorder()
		c := New(nc, nil, rec)
		c.Drain("bye", 0)
		synctest.Wait()
		wantState(t, c, Draining)
		_, _ = c.Read(make([]byte, 100))
		w := newWire()
		_ = w.WriteSettings()
		b := w.take()
		writeSome(t, c, b, len(b))
		if !bytes.Equal(nc.out.Bytes(), b) {
			t.Errorf("the client got %q", nc.out.Bytes())
		}
		wantState(t, c, Draining)
		_ = c.Close()
		rec.want(t, "lost: "+ErrPreface.Error(), "closed: server")
	})
}

// TestLostGoAway has the write of our frames fail in the middle.
func TestLostGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		_ = w.WriteSettings()
		b := w.take()
		nc := &memConn{limit: len(b) + 5}
		rec := newRecorder()
		c := New(nc, nil, rec)
		writeSome(t, c, b, len(b))
		c.Drain("bye", 0)
		synctest.Wait()
		wantState(t, c, Draining)
		_ = c.Close()
		rec.want(t, "lost: "+ErrWrite.Error(), "closed: server")
	})
}

// resetConn is lost with the first write.
type resetConn struct{ memConn }

func (*resetConn) Write([]byte) (int, error) { return 0, syscall.ECONNRESET }

// Without a write buffer grpc-go makes no transport of a connection whose first write fails, and
// forgets about ours: it must end all the same, or it would count as load for ever.
func TestLostWithTheFirstWrite(t *testing.T) {
	under, rec := &resetConn{}, newRecorder()
	c := New(under, &Config{}, rec)
	if _, err := c.Write([]byte("SETTINGS")); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if how := <-rec.how; how != ByClient || !under.closed {
		t.Errorf("closed %v: %v", under.closed, how)
	}
}

// The preface and a whole frame are what a server waits for; both may come in pieces,
// and be followed by no stream for ever.
func TestCloseSilent(t *testing.T) {
	w := newWire()
	w.WriteString(http2.ClientPreface)
	_ = w.WriteSettings()
	begin := w.take()
	for n := range len(begin) + 1 {
		nc := &memConn{in: begin[:n]}
		c := New(nc, nil, nil)
		buf := make([]byte, 1)
		for range n {
			_, _ = c.Read(buf)
		}
		silent := n < len(begin)
		if got := c.CloseSilent(); got != silent || nc.closed != silent {
			t.Errorf("after %d of %d bytes: %t, closed: %t", n, len(begin), got, nc.closed)
		}
		if c.CloseSilent() {
			t.Errorf("after %d bytes: closed twice", n)
		}
	}
}
