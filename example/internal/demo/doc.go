// Package demo shows what evenkeel does, on one machine and with real processes:
// three fleets of the same server under the same clients grow at the same
// moments, one with evenkeel, one with grpc-go's MaxConnectionAge, one with
// nothing. It measures, and fails if a promise broke.
//
// From the ground up: column.go is one fleet, timeline.go what happens to all
// of them, figures.go what is made of it, board.go what is shown, and headless.go,
// tui.go and page.go show it.
package demo
