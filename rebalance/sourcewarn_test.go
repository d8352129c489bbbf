package rebalance

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/peers"
)

// A source's warning shows beside its good view, outlasts a failure, and ends with a
// view that has none.
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
	b.onMembership(view)
	if members, _, err := b.peers.membership(); len(members) != 1 || err != nil || shown() != "no verb watch" {
		t.Errorf("%v, %v, shown %q", members, err, shown())
	}
	b.onMembership(peers.Membership{Err: errors.New("away")})
	if shown() != "no verb watch" {
		t.Error("a failure cleared the warning")
	}
	view.Warning = ""
	b.onMembership(view)
	if shown() != "" {
		t.Errorf("still shown: %q", shown())
	}
}
