package h2conn

import (
	"io"
	"testing"
	"testing/synctest"
)

// newHalfServed returns a pair whose server reads to the end and then leaves the connection to
// the test, as one that passes bytes on does.
func newHalfServed(t *testing.T) *pair {
	return newPairServedBy(t, pipes, func(p *pair) { _, _ = io.Copy(servedBy{p}, struct{ io.Reader }{p.c}) })
}

// The client may go on sending after the server has ended its side, and gets no frame of ours
// after the end.
func TestServerEndsItsSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newHalfServed(t)
		p.open(1)
		p.end(1)
		if err := p.c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		p.got("HEADERS", "EOF")
		before := p.servedBytes()
		p.open(3)
		if got := p.servedBytes(); got == before {
			t.Error("the server got nothing of what the client sent after the server's end")
		}
		if drainNow(p.c, "bye", 0) {
			t.Error("Drain returned true after the server's end")
		}
		_ = p.client.Close()
		synctest.Wait()
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		p.rec.want(t, "closed: server")
	})
}

// A client that ends a drained connection first has closed it cleanly, although the server then
// ends its side, too.
func TestServerEndsItsSideAfterTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newHalfServed(t)
		p.drain(0)
		p.state(Idle)
		p.got("GOAWAY bye", "PING evenkeel")
		_ = p.client.(duplex).CloseWrite()
		synctest.Wait()
		if err := p.c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_ = p.c.Close()
		p.closedAfter(0, Clean)
		p.rec.want(t, "goaway ours=true", "closed: clean")
	})
}

// The end of the server's side ends a hold, since no GOAWAY follows.
func TestServerEndsItsSideInTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newHalfServed(t)
		p.setAcks(false)
		p.open(1)
		p.drain(0)
		p.got("PING evenhold")
		if err := p.c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		p.got("PING evenhold", "EOF")
		_ = p.c.Close()
		p.closedAfter(0, ByServer)
		p.rec.want(t, "closed: server")
	})
}

func TestCloseWriteOfAPipe(t *testing.T) {
	c := New(&memConn{}, nil, nil)
	if err := c.CloseWrite(); err == nil {
		t.Error("CloseWrite of a connection that cannot be half-closed returned no error")
	}
}
