package h2conn

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

const (
	testLinger = 3 * time.Second
	// wantEOFWait is the documented time; the tests do not take it from the code.
	wantEOFWait = 5 * time.Second
)

// duplex is one end of a connection that can be half-closed. It uses two pipes.
type duplex struct {
	net.Conn // to read from
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
	w      *wire   // composes what the client or the server writes
	walk   []State // the states seen so far

	mu     sync.Mutex
	frames []string
	acks   bool // the client acknowledges PINGs
	paused chan struct{}
	served bytes.Buffer // what the server has read
}

// newPair returns a pair that has exchanged SETTINGS.
func newPair(t *testing.T, ends func() (net.Conn, net.Conn)) *pair {
	return newPairServedBy(t, ends, (*pair).serve)
}

func newPairServedBy(t *testing.T, ends func() (net.Conn, net.Conn), serve func(*pair)) *pair {
	srv, cli := ends()
	rec := newRecorder()
	p := &pair{
		t: t, c: New(srv, &Config{Linger: testLinger}, rec), client: cli, rec: rec,
		w: newWire(), acks: true, walk: []State{Open},
	}
	go serve(p)
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
	_, _ = io.Copy(servedBy{p}, struct{ io.Reader }{p.c})
	_ = p.c.Close()
}

type servedBy struct{ p *pair }

func (s servedBy) Write(b []byte) (int, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.served.Write(b)
}

// servedBytes returns how much the server has read.
func (p *pair) servedBytes() int {
	p.settle()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.served.Len()
}

// read is the client. It records the frames that it gets, and acknowledges PINGs.
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
		return fmt.Sprintf("GOAWAY last=%d %v", f.LastStreamID, f.ErrCode)
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
	p.settle()
}

func (p *pair) fromServer() {
	p.t.Helper()
	if _, err := p.c.Write(p.w.take()); err != nil {
		p.t.Fatal(err)
	}
	p.settle()
}

// open lets the client open a stream.
func (p *pair) open(id uint32) { p.w.headers(id, true, true); p.fromClient() }

// end lets the server end a stream.
func (p *pair) end(id uint32) { p.w.headers(id, true, true); p.fromServer() }

func (p *pair) drain(grace time.Duration) {
	p.t.Helper()
	if !drainNow(p.c, "bye", grace) {
		p.t.Fatal("Drain returned false")
	}
	p.settle()
}

// settle waits until every goroutine of the bubble blocks, and records the state if it
// has changed.
func (p *pair) settle() {
	synctest.Wait()
	if p.c == nil {
		return
	}
	if s := p.c.State(); s != p.walk[len(p.walk)-1] {
		p.walk = append(p.walk, s)
	}
}

// walked expects the connection to have gone through these states.
func (p *pair) walked(want ...State) {
	p.t.Helper()
	p.settle()
	if !slices.Equal(p.walk, want) {
		p.t.Fatalf("states: %v, want %v", p.walk, want)
	}
}

func (p *pair) setAcks(acks bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acks = acks
}

func (p *pair) got(want ...string) {
	p.t.Helper()
	p.settle()
	if n := len(want); n > 1 && want[n-1] == "EOF" && want[n-2] == "EOF" { // see endIf
		want = want[:n-1]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := p.frames[1:]; !slices.Equal(got, want) {
		p.t.Fatalf("client got %q after SETTINGS, want %q", got, want)
	}
}

func (p *pair) state(want State) {
	p.t.Helper()
	p.settle()
	wantState(p.t, p.c, want)
}

// closedAfter expects the connection to close after exactly d of virtual time.
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

// inBubble runs test twice: over a connection that can be half-closed, and over one
// that cannot.
func inBubble(t *testing.T, test func(p *pair, half bool)) {
	t.Helper()
	for name, ends := range map[string]func() (net.Conn, net.Conn){"half-close": pipes, "pipe": net.Pipe} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(newPair(t, ends), name == "half-close") })
		})
	}
}

// eofWaitIf returns how long the Conn waits for a client that never closes: with half-close
// it waits for the client's EOF, without it for the ACK of a PING.
func eofWaitIf(half bool) time.Duration {
	if half {
		return wantEOFWait
	}
	return 0
}

// endIf returns what follows the last word.
func endIf(half bool) string {
	if half {
		return "EOF"
	}
	return "PING evenlast"
}
