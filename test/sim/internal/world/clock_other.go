//go:build !linux

package world

import "time"

var started = time.Now()

// busyTime returns wall clock time, since this system has no CPU clock per thread.
func busyTime() time.Duration { return time.Since(started) }
