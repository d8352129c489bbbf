//go:build race

package serveropts_test

import "time"

// day and hour are shorter: pods that ask each other each second for a whole day are half
// a million requests. They would take minutes with the race detector, which has seen all
// that there is to see after a few.
const (
	day  = 30 * time.Minute
	hour = 10 * time.Minute
)
