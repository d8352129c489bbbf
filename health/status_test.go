package health

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

func TestStatuszText(t *testing.T) {
	st := look(newFake(rebalance.Status{
		Pod: "pod-a", Uptime: "3m2s", Connections: 12, Draining: 2, Streams: 3, Keys: 5, Source: "dns hello.test",
		GoAways: map[string]uint64{"even": 2}, Verdict: rebalance.Balanced, Why: "all pods are within 10 %", Tracked: 20,
		Weight: "streams", Load: 2.5, MeanLoad: 3, Band: rebalance.Band{Over: 3.3, Under: 2.1},
		Peers:      []rebalance.PeerStatus{{Pod: "pod-a", Address: "10.0.0.1", Ready: true, Connections: 12, Load: carries(2.5)}, {Pod: "pod-b", Address: "10.0.0.2", Error: "timeout"}},
		Conditions: []rebalance.Condition{{Code: "dns-behind", Severity: rebalance.Info, Text: "Wait.", Since: epoch.Add(-time.Minute)}},
		Decisions:  []rebalance.Decision{{At: epoch.Add(-3 * time.Hour), Action: "even", Count: 2, Why: "over the band"}},
	}))
	var b bytes.Buffer
	writeText(&b, st, epoch)
	const want = `pod          pod-a, up 3m2s, ready
verdict      balanced: all pods are within 10 %
connections  12, 2 of them draining; 20 since the start
streams      3
load         2.5 (streams in flight); mean 3, over-loaded above 3.3, under-loaded below 2.1
clients      5
source       dns hello.test
goaways      even 2
closed       none
peer errors  none

CONDITION   SEVERITY  SINCE      TEXT
dns-behind  info      1m 0s ago  Wait.

PEER   ADDRESS   STATE    CONNECTIONS  LOAD
pod-a  10.0.0.1  ready    12           2.5
pod-b  10.0.0.2  timeout  ?            ?

WHEN       ACTION  COUNT  WHY
3h 0m ago  even    2      over the band
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestFigure(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 12: "12", 12.34: "12.3", 999.96: "1000.0", 1234.5: "1234", 0.01234: "0.012", 1e12: "1e+12", -2.5: "-2.5",
	} {
		if got := figure(x); got != want {
			t.Errorf("figure(%v): got %q, want %q", x, got, want)
		}
	}
}

// An unknown mean is not shown as 0.
func TestBandLine(t *testing.T) {
	for want, st := range map[string]rebalance.Status{
		"no mean: too few pods have reported, or none has any load": {},
		"mean 10, over-loaded above 11":                             {MeanLoad: 10, Band: rebalance.Band{Over: 11}},
		"mean 10, over-loaded above 11, under-loaded below 7":       {MeanLoad: 10, Band: rebalance.Band{Over: 11, Under: 7}},
	} {
		if got := bandLine(st); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The shown Status is a copy, since the source may keep its slices and maps.
func TestLookLeavesTheSourceAlone(t *testing.T) {
	src := newFake(everywhere("bad\xff"))
	before := everywhere("bad\xff")
	before.Ready = true
	st := look(src)
	newPageData(st, epoch, true)
	if got := src.Status(); !reflect.DeepEqual(got, before) {
		t.Errorf("the source's Status has changed:\n%+v", got)
	}
}

func TestAgo(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s ago"}, // the clocks of two pods differ
		{0, "0s ago"},
		{59 * time.Second, "59s ago"},
		{61 * time.Second, "1m 1s ago"},
		{3*time.Hour + 5*time.Minute, "3h 5m ago"},
		{49 * time.Hour, "2 days ago"},
	} {
		if got := ago(epoch, epoch.Add(-tc.d)); got != tc.want {
			t.Errorf("%v ago: got %q, want %q", tc.d, got, tc.want)
		}
	}
	if got := ago(epoch, time.Time{}); got != "" {
		t.Errorf("zero time: got %q, want an empty string", got)
	}
}
