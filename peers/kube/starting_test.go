package kube

import (
	"testing"
	"time"

	discovery "k8s.io/api/discovery/v1"
)

// A pod that has an address and is not ready is starting. It counts once, in however many
// slices it is.
func TestStarting(t *testing.T) {
	all := map[string]*slice{
		"four": toSlice(sliceOf("four", "IPv4",
			pod("a", "10.0.0.1", ready(true)),
			pod("b", "10.0.0.2", ready(false), serving(false)),
			pod("c", "10.0.0.3", ready(false), serving(true), terminating),
		)),
		"six": toSlice(sliceOf("six", "IPv6",
			pod("a", "fd00::1", ready(true)),
			pod("b", "fd00::2", ready(false), serving(false)),
			pod("d", "fd00::4", ready(false), serving(false)),
		)),
	}
	var u unready
	u.note(gather(all), time.Now())
	if n := u.starting(time.Now()); n != 2 {
		t.Errorf("%d pods are starting, want 2: b and d", n)
	}
}

// A pod that was ready and no longer is may be back in a moment, as after a crash. Later, it
// was taken out of the Service and keeps no growth waiting.
func TestPodsTakenOutAreNotStarting(t *testing.T) {
	var u unready
	now := time.Now()
	is := func(want int, after time.Duration, pods ...discovery.Endpoint) {
		t.Helper()
		now = now.Add(after)
		u.note(gather(map[string]*slice{"one": toSlice(sliceOf("one", "IPv4", pods...))}), now)
		if n := u.starting(now); n != want {
			t.Errorf("%d pods are starting, want %d", n, want)
		}
	}
	in, out := pod("a", "10.0.0.1", ready(true)), pod("a", "10.0.0.1", ready(false), serving(false))
	is(1, 0, out)
	is(1, time.Hour, out) // it has never been ready
	is(0, time.Minute, in)
	is(1, time.Hour, out)
	is(1, 59*time.Second, out)
	is(0, time.Second, out)
	is(0, time.Hour, out)
	is(0, time.Minute, in)
	is(1, time.Minute, out) // out again
	is(0, time.Minute)
	is(1, time.Minute, out) // forgotten while it was not listed
}

// The source tells how many pods are starting, and that there are no others.
func TestStartingIsKnown(t *testing.T) {
	a := newAPIServer(t)
	a.put(sliceOf("one", "IPv4", pod("a", "10.0.0.1"), pod("b", "10.0.0.2", ready(false))))
	w := watchWith(t, a.URL, nil)
	if m := w.untilPods(1); m.Starting != 1 || !m.StartingKnown {
		t.Errorf("%d pods are starting, known: %v, want 1 and true", m.Starting, m.StartingKnown)
	}
}
