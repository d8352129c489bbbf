package experiment

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

// begin is the start of an interval.
var begin = time.UnixMilli(1_800_000_000_000)

func at(seconds float64) time.Time {
	return begin.Add(time.Duration(seconds * float64(time.Second)))
}

// recording builds the records of a fictitious run of one fleet.
type recording struct{ log Log }

func (r *recording) add(seconds float64, one *Record) {
	one.At, one.Fleet = at(seconds), "f"
	r.log.Add(*one)
}

func (r *recording) mark(seconds float64, phase string, replicas int) {
	r.add(seconds, &Record{Kind: Mark, Phase: phase, Replicas: replicas})
}

// addresses returns the addresses of pods with names of one letter.
func addresses(pods string) map[string]string {
	out := map[string]string{}
	for p := range strings.SplitSeq(pods, "") {
		out[p] = "198.18.16." + fmt.Sprint(p[0])
	}
	return out
}

func (r *recording) ready(seconds float64, pods string) {
	r.add(seconds, &Record{Kind: Ready, Addresses: addresses(pods)})
}

func (r *recording) dns(seconds float64, pods string) {
	answer := map[string]string{}
	for ip := range maps.Values(addresses(pods)) {
		answer[ip] = ""
	}
	r.add(seconds, &Record{Kind: DNS, Addresses: answer})
}

func (r *recording) goaways(seconds float64, pod string, n uint64) {
	r.add(seconds, &Record{Kind: Pod, Name: pod, State: &State{GoAways: map[string]uint64{"reach": n}, Verdict: "balanced"}})
}

// calls adds n calls of every pod in each interval.
func (r *recording) calls(from, to float64, pods string, n int) {
	for t := from; t < to; t += Interval.Seconds() {
		calls := map[string]int{}
		for p := range strings.SplitSeq(pods, "") {
			calls[p] = n
		}
		r.add(t, &Record{Kind: Calls, Name: "client", Report: &fleet.Report{T: at(t).UnixMilli(), Calls: calls}})
	}
}

// growing returns a run that grows from two to five pods at 20 s. The calls reach all five
// from 26 s on.
func growing() *recording {
	r := &recording{}
	r.mark(0, PhaseRest, 2)
	r.mark(20, PhaseGrow, 5)
	r.mark(50, PhaseEnd, 0)
	r.ready(0, "ab")
	r.ready(22, "abcd")
	r.ready(22.5, "abcde")
	r.dns(0, "ab")
	r.dns(23, "abcde")
	r.add(-5, &Record{Kind: Query, Name: "client"})
	r.calls(0, 26, "ab", 5)
	r.calls(26, 50, "abcde", 2)
	r.goaways(0, "a", 1)
	r.goaways(25, "a", 7)
	return r
}

func measured(t *testing.T, r *recording) map[string]Figures {
	t.Helper()
	f, err := Measure(r.log.Records(), "f")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGrowth(t *testing.T) {
	f := measured(t, growing())
	rest, grow := f[PhaseRest], f[PhaseGrow]
	if rest.Growth != nil || rest.GoAways != 1 || rest.Calls != 2*5*int(20*time.Second/Interval) || rest.Window != 20*time.Second {
		t.Errorf("rest: %+v", rest)
	}
	want := Growth{
		ReadyAt: at(22.5), DNSFullAt: at(23), MayAskAt: at(25),
		Even: 3500 * time.Millisecond, AfterDNS: time.Second,
	}
	if *grow.Growth != want {
		t.Errorf("got  %+v\nwant %+v", *grow.Growth, want)
	}
	if grow.From != 2 || grow.To != 5 || grow.GoAways != 6 || grow.Failed != 0 {
		t.Errorf("grow: %+v", grow)
	}
}

// The figures must show everything that can go wrong in a run.
func TestFiguresShowProblems(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*recording)
		shown  func(f *Figures) bool
	}{
		{"early", func(r *recording) { r.goaways(22.8, "b", 2) }, func(f *Figures) bool { return f.Growth.Early == 2 && f.GoAways == 8 }},
		{"late", func(r *recording) { r.goaways(40, "a", 9) }, func(f *Figures) bool { return f.Growth.Late == 2 && f.GoAways == 8 }},
		{"uneven again", func(r *recording) { r.calls(28, 40, "a", 20) }, func(f *Figures) bool { return f.Growth.Even == 17500*time.Millisecond }},
		{"never", func(r *recording) { r.calls(20, 50, "a", 20) }, func(f *Figures) bool { return f.Growth.Even < 0 && f.Growth.AfterDNS < 0 }},
		{"GOAWAYs of a pod that has stopped", func(r *recording) { r.goaways(21, "gone", 3) }, func(f *Figures) bool { return f.GoAways == 9 }},
		{"failures and connections", func(r *recording) {
			r.add(30, &Record{Kind: Calls, Name: "other", Report: &fleet.Report{
				T: at(30).UnixMilli(), Opened: 4, Failures: 3, Errors: map[string]int{"Unavailable: x": 2, "Canceled: y": 1},
			}})
		}, func(f *Figures) bool {
			return f.Failed == 3 && f.Opened == 4 && f.Texts() == "2 x Unavailable: x, 1 x Canceled: y"
		}},
	} {
		r := growing()
		tc.change(r)
		if f := measured(t, r)[PhaseGrow]; !tc.shown(&f) {
			t.Errorf("%s: the figures do not show it: %+v %+v", tc.name, f, f.Growth)
		}
	}
}

// A run without new pods or without calls must be an error.
func TestNothingToMeasure(t *testing.T) {
	noPods := &recording{}
	noPods.mark(0, PhaseRest, 2)
	noPods.mark(10, PhaseGrow, 5)
	noPods.mark(20, PhaseEnd, 0)
	noPods.calls(0, 20, "ab", 1)
	noCalls := &recording{}
	noCalls.mark(0, PhaseRest, 2)
	noCalls.mark(10, PhaseEnd, 0)
	for want, r := range map[string]*recording{"never 5 ready pods": noPods, "no calls": noCalls} {
		if _, err := Measure(r.log.Records(), "f"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}

func TestOutOfBand(t *testing.T) {
	pods := []string{"a", "b", "c", "d"}
	for _, tc := range []struct {
		counts [4]int
		in     bool
	}{
		{[4]int{15, 15, 15, 15}, true},
		{[4]int{17, 17, 15, 11}, true},
		{[4]int{18, 16, 15, 11}, false},
		{[4]int{17, 17, 16, 10}, false},
		{[4]int{3, 2, 2, 2}, true},
	} {
		perPod := map[string]int{}
		for i, n := range tc.counts {
			perPod[pods[i]] = n
		}
		if why := outOfBand(perPod, pods); (why == "") != tc.in {
			t.Errorf("%v: got %q, want it in the band: %v", tc.counts, why, tc.in)
		}
	}
}

// The run has 20 connections: 10 on each of two pods, and from 26 s on 4 on each of five.
func TestSingleHomed(t *testing.T) {
	s, err := MeasureSingleHomed(growing().log.Records(), "f", 20)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.PerPod, []int{4, 4, 4, 4, 4}) || s.GoAways != 6 || s.Late != 0 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	// A window of 2 s rounds to the right connections a little before all its calls are even.
	if s.Even < 3*time.Second || s.Even > 3500*time.Millisecond {
		t.Errorf("got even after %v, want 3 to 3.5 s", s.Even)
	}
}

// AddClient must read a client's output, and skip what grpc logs between the lines.
func TestAddClient(t *testing.T) {
	const output = `{"query":1800000000100}
{"t":1800000000000,"calls":{"a":3,"b":4},"failures":1,"errors":{"Unavailable: x":1},"opened":2}
2026/11/24 01:00:00 INFO: [core] something
{"t":1800000000250,"calls":{"a":3},"failures":0}
{"t":1800000000000,"calls":{"a":6,"b":4},"failures":1,"total":true}
`
	var log Log
	if err := log.AddClient("f", "client-1", strings.NewReader(output)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range log.Records() {
		text := fmt.Sprintf("%d %s %s", r.At.Sub(begin).Milliseconds(), r.Kind, r.Name)
		if r.Report != nil {
			text += fmt.Sprint(" ", r.Report.Calls, r.Report.Failures, r.Report.Opened)
		}
		got = append(got, text)
	}
	want := []string{
		"0 calls client-1 map[a:3 b:4] 1 2",
		"100 query client-1",
		"250 calls client-1 map[a:3] 0 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestWriteAndRead(t *testing.T) {
	records := growing().log.Records()
	var b bytes.Buffer
	if err := Write(&b, records); err != nil {
		t.Fatal(err)
	}
	again, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	// Both lists must lead to the same figures.
	f1, _ := Measure(records, "f")
	f2, err := Measure(again, "f")
	if err != nil {
		t.Fatal(err)
	}
	f1[PhaseGrow].Growth.ReadyAt, f2[PhaseGrow].Growth.ReadyAt = time.Time{}, time.Time{}
	f1[PhaseGrow].Growth.DNSFullAt, f2[PhaseGrow].Growth.DNSFullAt = time.Time{}, time.Time{}
	f1[PhaseGrow].Growth.MayAskAt, f2[PhaseGrow].Growth.MayAskAt = time.Time{}, time.Time{}
	if !reflect.DeepEqual(f1, f2) {
		t.Errorf("got  %+v\nwant %+v", f2, f1)
	}
}
