package conns

import (
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// A client has departed if it closed a connection that carried load, and nobody had drained it.
func TestDeparted(t *testing.T) {
	r := NewRegistry(0)
	idle := arrive(r, "a")
	idle.OnUse(h2conn.Ready)
	probe := arrive(r, "a")
	probe.OnUse(h2conn.Ready)
	probe.OnUse(h2conn.Probed)
	drained := add(r, "a")
	drained.markDraining(reason.Even)
	for _, c := range []*Conn{idle, probe, drained, arrive(r, "a")} {
		c.OnClose(h2conn.ByClient)
	}
	add(r, "a").OnClose(h2conn.ByServer)
	if n := r.Departed(); n != 0 {
		t.Errorf("%d departed clients, want none", n)
	}
	add(r, "a").OnClose(h2conn.ByClient)
	if n := r.Departed(); n != 1 {
		t.Errorf("%d departed clients, want 1", n)
	}
}
