package rebalance

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
)

// A source's warning shows beside its good view, outlasts a failure, and ends with a view
// without a warning.
func TestSourceWarning(t *testing.T) {
	b, err := New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		for _, c := range b.conds.list() {
			if c.Code == "peers-limited" && c.Severity == Warning {
				return c.Text
			}
		}
		return ""
	}
	view := peers.Membership{Members: []peers.Member{{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}, Warning: "no verb watch"}
	b.peers.Update(view)
	if rows := b.peers.Rows(""); len(rows) != 1 || shown() != "no verb watch" {
		t.Errorf("%v, shown %q", rows, shown())
	}
	b.peers.Update(peers.Membership{Err: errors.New("away")})
	if shown() != "no verb watch" {
		t.Error("a failure cleared the warning")
	}
	view.Warning = ""
	b.peers.Update(view)
	if shown() != "" {
		t.Errorf("still shown: %q", shown())
	}
}
