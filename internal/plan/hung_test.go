package plan

import (
	"math"
	"slices"
	"testing"
)

// A pod whose handlers hang or are slow, and that has its share of the connections, is no place
// for more, however little it answers.
func TestPodsThatHang(t *testing.T) {
	for name, tc := range map[string]struct {
		serving       int
		load, streams float64
		want          float64
	}{
		"as the others":                     {15, 36, 0.1, 36},
		"no answers":                        {15, 1, 15, 36},
		"no answers, below its share":       {14, 1, 14, 1},
		"no answers, twice its share":       {30, 1, 30, 72},
		"calls that run into deadlines":     {15, 15 / 1.4, 15 / 1.4, 36},
		"idle clients":                      {15, 15 / 1.4, 0.03, 15 / 1.4},
		"slower, and as many requests":      {15, 35, 3, 35},
		"somewhat slower, fewer requests":   {15, 20, 0.1, 20},
		"many times slower, fewer requests": {15, 20, 4, 36},
		"slower, but few wait":              {15, 20, 3, 20},
	} {
		hung := podLoad{pod: "d", load: tc.load, serving: tc.serving, streams: tc.streams, share: 1}
		sound := podLoad{pod: "a", load: 36, serving: 15, streams: 0.1, share: 1}
		for _, pods := range [][]podLoad{{sound, sound, sound, hung}, {hung, sound, sound, sound}} {
			l := &loads{self: pods[0], pods: pods}
			l.loadHung()
			for _, d := range append(pods, l.self) {
				if want := map[string]float64{"a": 36, "d": tc.want}[d.pod]; math.Abs(d.load-want) > 1e-9 {
					t.Errorf("%s: pod %s counts with %v, want %v", name, d.pod, d.load, want)
				}
			}
		}
	}
}

// A pod whose clients send little beside one heavy client elsewhere does not hang. Others leave it
// out, and it keeps its own measure.
func TestIdlePodsDoNotHang(t *testing.T) {
	heavy, idle := podLoad{pod: "a", load: 25, serving: 4, share: 1}, podLoad{pod: "b", load: 1, serving: 6, share: 1}
	for _, streams := range []float64{0, 0.25} {
		heavy.streams, idle.streams = streams, streams/25
		for _, tc := range []struct {
			pods []podLoad
			want string
		}{{[]podLoad{heavy, idle}, "a"}, {[]podLoad{idle, heavy}, "ba"}} {
			l := &loads{pods: slices.Clone(tc.pods)}
			l.loadHung()
			l.leaveOutIdle()
			got := ""
			for _, d := range l.pods {
				got += d.pod
			}
			if got != tc.want || l.self.load != tc.pods[0].load {
				t.Errorf("%v streams: got %s left with a load of %v, want %s with %v", streams, got, l.self.load, tc.want, tc.pods[0].load)
			}
		}
	}
}

// A pod that hangs gives what is above its share of the connections, in the measure of its own
// connections.
func TestHungPodGivesItsSurplus(t *testing.T) {
	s, v, p := &State{}, &View{Load: 30 * 0.1, Serving: 30, Streams: 30}, &Policy{Tolerance: 0.1, Floor: 0.7}
	l := &loads{self: podLoad{load: 72, serving: 30, share: 1}}
	s.even.give = 36 // of 72: half of its connections
	s.begin(l, v, p, &Step{})
	if s.even.give > 1.5 || s.even.give == 0 {
		t.Errorf("it gives %v of its measured load of 3, want at most half", s.even.give)
	}
}
