//go:build race

package h2conn

// raceEnabled is true because the race detector makes allocations of its own.
const raceEnabled = true
