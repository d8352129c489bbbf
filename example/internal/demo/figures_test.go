package demo

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

const channels = 20

// goodFigure returns the figure of a growth in which every promise was kept.
func goodFigure() figure {
	return figure{phase: "2 to 5", grew: true, even: 2 * time.Second, evenOK: true, goaways: channels}
}

func TestPromises(t *testing.T) {
	inFlight := []fleet.Failure{{Text: "Unavailable: error reading from server: EOF", Count: 2}}
	refused := []fleet.Failure{{Text: "Unavailable: connection refused", Count: 1}}
	for _, tc := range []struct {
		name   string
		change func(*figure)
		o      options
		later  bool
		want   string // of the broken promise; empty if none is broken
	}{
		{name: "all promises kept", change: func(*figure) {}},
		{name: "even at the limit", change: func(f *figure) { f.even = promisedEven }},
		{name: "even too late", change: func(f *figure) { f.even = promisedEven + time.Second }, want: "even after 6.0 s"},
		{name: "never even", change: func(f *figure) { f.evenOK = false }, want: "the calls were never even"},
		{name: "one GOAWAY too many", change: func(f *figure) { f.goaways++ }, want: "21 GOAWAYs"},
		{name: "one GOAWAY too few", change: func(f *figure) { f.goaways-- }, want: "19 GOAWAYs"},
		{name: "a later growth may need more", change: func(f *figure) { f.goaways++ }, later: true},
		{name: "a GOAWAY before DNS has all pods", change: func(f *figure) { f.early = 1 }, want: "before DNS"},
		{name: "a GOAWAY after the calls are even", change: func(f *figure) { f.late = 1 }, want: "after the calls were even"},
		{name: "an RPC failed", change: func(f *figure) { f.failed, f.failedKind = 1, refused }, want: "1 RPCs failed: 1 x Unavailable: connection refused"},
		{name: "RPCs in flight failed, but no pod was killed", change: func(f *figure) { f.failed, f.failedKind = 2, inFlight }, want: "2 RPCs failed"},
		{name: "RPCs in flight on a killed pod failed", change: func(f *figure) { *f = figure{killed: true, failed: 2, failedKind: inFlight} }},
		{name: "other RPCs failed, too, when a pod was killed", change: func(f *figure) {
			*f = figure{killed: true, failed: 3, failedKind: slices.Concat(inFlight, refused)}
		}, want: "1 RPCs failed"},
		{name: "all pods stopped cleanly", change: func(f *figure) { *f = figure{exits: []int{0, 0, 0}} }},
		{name: "a pod stopped with an error", change: func(f *figure) { *f = figure{exits: []int{0, 1, 0}} }, want: "pod 2 of 3 exited with status 1"},
		{name: "DNS never has the new pods, and the old ones wait", o: options{dnsNever: true}, change: func(f *figure) {
			*f = figure{grew: true, verdicts: map[string]string{"pod-1": "waiting", "pod-2": "waiting", "pod-3": "balanced"}}
		}},
		{name: "DNS never has the new pods, but a GOAWAY was sent", o: options{dnsNever: true}, change: func(f *figure) {
			*f = figure{grew: true, goaways: 1}
		}, want: "never listed"},
		{name: "DNS never has the new pods, but a pod is balanced", o: options{dnsNever: true}, change: func(f *figure) {
			*f = figure{grew: true, verdicts: map[string]string{"pod-1": "balanced"}}
		}, want: `the verdict of pod-1 is "balanced"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := goodFigure()
			tc.change(&f)
			got := f.broken(&tc.o, channels, !tc.later)
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("got %q, want no broken promise", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("got %q, want one broken promise with %q", got, tc.want)
			}
		})
	}
}

// A figure adds up the samples and reports of its own phase and no others.
func TestFigureClose(t *testing.T) {
	zero := time.UnixMilli(1_700_000_000_000)
	sec := func(s float64) time.Time { return zero.Add(time.Duration(s * float64(time.Second))) }
	c := newColumn(&options{}, withEvenkeel, ports{}, nil, func(string, ...any) {})
	for _, s := range []struct {
		at      float64
		goaways int
	}{{-2, 5}, {-0.5, 5}, {0.5, 6}, {1.5, 24}, {8, 25}, {9, 26}} {
		c.samples = append(c.samples, sample{at: sec(s.at), goaways: s.goaways, opened: 100 + s.goaways})
	}
	for _, at := range []float64{-3, 2, 20} {
		c.tally.Add(fleet.Report{T: sec(at).UnixMilli(), Failures: 1, Errors: map[string]int{"Unavailable: x": 1}})
	}
	f := figure{start: sec(-1), zero: sec(1), grew: true, evenOK: true, even: time.Second}
	f.close(c, sec(10))
	if f.goaways != 21 || f.opened != 21 {
		t.Errorf("got %d GOAWAYs and %d connections opened, want 21 of each", f.goaways, f.opened)
	}
	if f.early != 1 || f.late != 2 {
		t.Errorf("got %d GOAWAYs early, want 1; %d late, want 2", f.early, f.late)
	}
	if f.failed != 1 || len(f.failedKind) != 1 {
		t.Errorf("got %d failed RPCs, want 1: %v", f.failed, f.failedKind)
	}
}

func TestTable(t *testing.T) {
	o := &options{maxAge: 30 * time.Second}
	var columns []*column
	figures := map[string][]figure{}
	for _, id := range o.fleets() {
		columns = append(columns, newColumn(o, id, ports{}, nil, func(string, ...any) {}))
		f := goodFigure()
		f.evenOK = id != withNothing
		figures[id] = []figure{f, {phase: "5 to 2", exits: []int{0}, stopTook: time.Second}, {phase: "one pod killed", killed: true}}
	}
	got := table(columns, figures)
	for _, want := range []string{"with evenkeel", "MaxConnectionAge=30s", "even after 2.0 s", "never even", "stopped after 1.0 s", "0 in-flight RPCs lost"} {
		if !strings.Contains(got, want) {
			t.Errorf("the table does not contain %q:\n%s", want, got)
		}
	}
}
