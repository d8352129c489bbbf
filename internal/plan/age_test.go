package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// Connections that were opened at the same moment must not be drained at the same moment.
func TestAgeNeverTakesMoreThanATenthInASecond(t *testing.T) {
	for _, tc := range []struct {
		n   int
		age time.Duration
	}{{100, 30 * time.Second}, {100, 30 * time.Minute}, {2000, time.Minute}, {7, 10 * time.Second}} {
		t.Run(fmt.Sprintf("%d_%v", tc.n, tc.age), func(t *testing.T) {
			f := newFleet(1, tc.n, tc.n)
			f.policy.MaxAge = tc.age
			f.run(4 * tc.age)
			if got := f.goaways[reason.Age]; got < 2*tc.n {
				t.Errorf("got %d GOAWAYs in four ages, want at least twice %d", got, tc.n)
			}
			if most := mostInASecond(f.sentAt); most > max(1, tc.n/10) {
				t.Errorf("got GOAWAYs for %d of %d connections within one second, want a tenth at most", most, tc.n)
			}
		})
	}
}
