package demo

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

const channels = 20

// kept is a growth in which every promise was kept.
func kept() figure {
	return figure{phase: "2 to 5", grew: true, even: 2 * time.Second, evenOK: true, goaways: channels}
}

func TestPromises(t *testing.T) {
	lost := []fleet.Failure{{Text: "Unavailable: error reading from server: EOF", Count: 2}}
	refused := []fleet.Failure{{Text: "Unavailable: connection refused", Count: 1}}
	for _, tc := range []struct {
		name   string
		change func(*figure)
		o      options
		later  bool
		want   string // empty: kept
	}{
		{name: "kept", change: func(*figure) {}},
		{name: "at the limit", change: func(f *figure) { f.even = promisedEven }},
		{name: "late", change: func(f *figure) { f.even = promisedEven + time.Second }, want: "even after 6.0 s"},
		{name: "never even", change: func(f *figure) { f.evenOK = false }, want: "never even"},
		{name: "one too many", change: func(f *figure) { f.goaways++ }, want: "21 GOAWAYs"},
		{name: "one too few", change: func(f *figure) { f.goaways-- }, want: "19 GOAWAYs"},
		{name: "a later growth may need more", change: func(f *figure) { f.goaways++ }, later: true},
		{name: "before DNS", change: func(f *figure) { f.early = 1 }, want: "before DNS"},
		{name: "not at rest", change: func(f *figure) { f.late = 1 }, want: "even already"},
		{name: "failed", change: func(f *figure) { f.failed, f.failedKind = 1, refused }, want: "1 RPCs failed: 1 x Unavailable: connection refused"},
		{name: "in flight while nobody is killed", change: func(f *figure) { f.failed, f.failedKind = 2, lost }, want: "2 RPCs failed"},
		{name: "killed", change: func(f *figure) { *f = figure{killed: true, failed: 2, failedKind: lost} }},
		{name: "killed, and others fail", change: func(f *figure) {
			*f = figure{killed: true, failed: 3, failedKind: slices.Concat(lost, refused)}
		}, want: "1 RPCs failed"},
		{name: "stopped", change: func(f *figure) { *f = figure{exits: []int{0, 0, 0}} }},
		{name: "stopped badly", change: func(f *figure) { *f = figure{exits: []int{0, 1, 0}} }, want: "pod 2 of 3 exited with status 1"},
		{name: "no DNS, waiting", o: options{dnsNever: true}, change: func(f *figure) {
			*f = figure{grew: true, verdicts: map[string]string{"pod-1": "waiting", "pod-2": "waiting", "pod-3": "balanced"}}
		}},
		{name: "no DNS, moved", o: options{dnsNever: true}, change: func(f *figure) {
			*f = figure{grew: true, goaways: 1}
		}, want: "never answered"},
		{name: "no DNS, content", o: options{dnsNever: true}, change: func(f *figure) {
			*f = figure{grew: true, verdicts: map[string]string{"pod-1": "balanced"}}
		}, want: `pod-1 says "balanced"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := kept()
			tc.change(&f)
			got := f.broken(&tc.o, channels, !tc.later)
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("broken: %q", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("got %q, want one with %q", got, tc.want)
			}
		})
	}
}

// What pods and clients say adds up to the figure, and only what lies in its time.
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
		t.Errorf("%d GOAWAYs and %d connections, want 21 of each", f.goaways, f.opened)
	}
	if f.early != 1 || f.late != 2 {
		t.Errorf("%d early, want 1; %d late, want 2", f.early, f.late)
	}
	if f.failed != 1 || len(f.failedKind) != 1 {
		t.Errorf("%d failed, want 1: %v", f.failed, f.failedKind)
	}
}

func TestTable(t *testing.T) {
	o := &options{maxAge: 30 * time.Second}
	var columns []*column
	figures := map[string][]figure{}
	for _, id := range o.fleets() {
		columns = append(columns, newColumn(o, id, ports{}, nil, func(string, ...any) {}))
		f := kept()
		f.evenOK = id != withNothing
		figures[id] = []figure{f, {phase: "5 to 2", exits: []int{0}, left: time.Second}, {phase: "one killed", killed: true}}
	}
	got := table(columns, figures)
	for _, want := range []string{"with evenkeel", "MaxConnectionAge=30s", "even after 2.0 s", "never even", "gone after 1.0 s", "0 in flight lost"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
