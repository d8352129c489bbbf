package plan

import (
	"testing"
	"time"
)

// A round of reach is quick as long as it is within what is allowed in any second.
func TestReachLength(t *testing.T) {
	for _, tc := range []struct {
		n, pods int
		rate    float64
		want    time.Duration
	}{
		{30, 1, 100, 90 * time.Millisecond},
		{50, 2, 100, 150 * time.Millisecond},
		{51, 2, 100, 1133 * time.Millisecond},
		{300, 1, 100, 3 * time.Second},
		{400, 1, 0, time.Second}, // the spread
	} {
		p := &Policy{Spread: time.Second, MaxPerSecond: tc.rate}
		if got := reachLength(tc.n, tc.pods, p).Round(time.Millisecond); got != tc.want {
			t.Errorf("%d GOAWAYs of each of %d pods at %v a second take %v, want %v", tc.n, tc.pods, tc.rate, got, tc.want)
		}
	}
}
