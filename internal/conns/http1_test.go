package conns

import (
	"net"
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Connections of HTTP/1.1 count as load, and in the sums of their key, but not where other pods
// query how many connections a multi-homed client has.
func TestHTTP1(t *testing.T) {
	r := NewRegistry(0)
	client, server := net.Pipe()
	defer client.Close()
	h1 := r.AddHTTP1(server, "k")
	c := FromAddr(h1.RemoteAddr())
	if n := r.Totals().Connections; n != 0 {
		t.Errorf("%d connections before a request, want 0", n)
	}
	h1.Begin()
	h1.Used(h2conn.InUse)
	keys := 0
	r.EachKey(func(string, int) bool { keys++; return true })
	if l, tot := r.Loads(), r.Totals(); l.Connections != 1 || tot.Keys != 1 || tot.Streams != 1 || keys != 0 {
		t.Errorf("got %+v, %+v and %d keys for queries, want one connection and no key", l, tot, keys)
	}
	c.SetKey("another") // moves the count
	if len(r.http1) != 1 {
		t.Errorf("%d keys have HTTP/1.1 connections, want 1", len(r.http1))
	}
	if !c.Drain(reason.Manual, "test", 0) || r.Unannounced() != 1 || c.waits() {
		t.Errorf("a drained connection with a request: %d to announce, waits %v", r.Unannounced(), c.waits())
	}
	if h1.Last(); r.Unannounced() != 0 || r.Totals().GoAways[reason.Manual] != 1 {
		t.Errorf("after its answer: %d to announce, %v", r.Unannounced(), r.Totals().GoAways)
	}
	_ = h1.Close()
	if tot := r.Totals(); tot.Connections != 0 || tot.Draining != 0 || tot.Closed[h2conn.Clean] != 1 || len(r.http1) != 0 {
		t.Errorf("in the end: %+v, %d keys", tot, len(r.http1))
	}
}
