//go:build race

package plan

import "flag"

// The race detector is six times slower and learns nothing from most histories, since planning
// has one goroutine. All of them run without it, on the oldest Go.
func init() {
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
}
