// Package demo shows what evenkeel does, on one machine and with real processes. Three
// fleets of the same server run under the same clients and grow at the same moments:
// one with evenkeel, one with grpc-go's MaxConnectionAge, one with neither. The demo
// measures how even their calls are, and fails if evenkeel broke a promise.
//
// From the bottom up: column.go is one fleet, timeline.go drives all of them,
// figures.go measures and judges, board.go collects what is shown, and headless.go,
// tui.go and page.go show it.
package demo
