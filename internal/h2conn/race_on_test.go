//go:build race

package h2conn

// raceEnabled: the race detector allocates on its own.
const raceEnabled = true
