//go:build !race

package serveropts_test

import "time"

// day and hour are how long a balanced service is watched.
const (
	day  = 24 * time.Hour
	hour = time.Hour
)
