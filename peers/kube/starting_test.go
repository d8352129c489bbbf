package kube

import "testing"

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
	if n := starting(gather(all)); n != 2 {
		t.Errorf("%d pods are starting, want 2: b and d", n)
	}
}
