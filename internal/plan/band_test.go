package plan

import (
	"math"
	"testing"
)

// The band is that of whole connections where they are the weight.
func TestBandOf(t *testing.T) {
	for _, tc := range []struct {
		mean, over, under float64
		whole             bool
	}{
		{0, 0, 0, true},
		{10, 11, 7, true},
		{10, 11, 7, false},
		{4, 5, 2.8, true},
		{2.8, 4, 1.96, true},
		{3, 4, 2, true}, // one above the mean is always allowed; and three numbers are inside
		{3.5, 4, 2, true},
		{4.3, 5, 3, true},
		{2, 3, 1, true},
		{0.5, 1, 0, true},
		{3, 3.3, 2.1, false},
		{2.5, 3, 1, true},
		{87.5, 97, 61.25, true},
	} {
		band := BandOf(tc.mean, &Policy{Tolerance: 0.1, Floor: 0.7, Whole: tc.whole})
		if math.Abs(band.Over-tc.over) > 1e-9 || math.Abs(band.Under-tc.under) > 1e-9 {
			t.Errorf("%+v: %+v", tc, band)
		}
	}
}

// Of many pods a handful tells each second: fewer than half are enough then.
func TestEnough(t *testing.T) {
	for _, tc := range []struct {
		known, others int
		want          bool
	}{
		{0, 0, true},
		{0, 1, false},
		{1, 1, true},
		{2, 4, false},
		{3, 4, true},
		{16, 32, false},
		{17, 32, true},
		{38, 1000, false},
		{39, 1000, true},
	} {
		if got := Enough(tc.known, tc.others); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}
