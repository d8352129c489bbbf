//go:build race

package serveropts_test

import "time"

// day and hour are shorter under the race detector. Pods that poll each other every second make
// half a million requests a day, which would take minutes. The race detector learns nothing new
// from most of them.
const (
	day  = 30 * time.Minute
	hour = 10 * time.Minute
)
