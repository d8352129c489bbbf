package rebalance

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
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

// Without WithLogger, conditions are logged to slog.Default().
func TestConditionsAreLoggedByDefault(t *testing.T) {
	var out bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	for name, opts := range map[string][]Option{"no option": nil, "a nil logger": {WithLogger(nil)}} {
		out.Reset()
		b, err := New(config.Default(), opts...)
		if err != nil {
			t.Fatal(err)
		}
		b.SetCondition("disk-full", Warning, "the disk is full")
		if !strings.Contains(out.String(), "disk-full") {
			t.Errorf("%s: the log of slog.Default() has %q", name, out.String())
		}
	}
}
