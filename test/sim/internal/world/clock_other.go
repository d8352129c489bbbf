//go:build !linux

package world

import "time"

var started = time.Now()

// busyTime is the wall clock's, where no clock of a thread is at hand.
func busyTime() time.Duration { return time.Since(started) }
