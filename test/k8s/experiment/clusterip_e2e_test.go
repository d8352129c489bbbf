//go:build e2e

package experiment

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// How long the phases of TestClusterIP are. After a growth it takes some rounds of a few
// seconds each, and up to two minutes where many connections share an address.
const (
	stickyRestFor = 10 * time.Second
	stickyGrowFor = 150 * time.Second
)

const (
	// stickyConns are on one pod each.
	stickyConns = 60
	// stickyRate is the calls of each in a second: they only need to be counted.
	stickyRate = 5
)

// 60 connections through a ClusterIP, one of each of 60 pods, and 20 of each of 3.
func TestClusterIP(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	fleets := []*service{
		{name: "own", title: "60 addresses", pods: stickyConns, channels: 1},
		{name: "shared", title: "3 addresses", pods: 3, channels: stickyConns / 3},
	}
	for _, s := range fleets {
		s.c, s.ns, s.image = c, c.Namespace(t), loadTag
		s.target, s.lb, s.rate = clusterIP(s.ns), "pick_first", stickyRate
	}
	log := &Log{}
	stage(t, fleets, log, func() {
		enter(t, fleets, log, PhaseRest, 2, stickyRestFor)
		enter(t, fleets, log, PhaseGrow, 5, stickyGrowFor)
	})
	records := collect(t, fleets, log)
	var results []StickyResult
	for _, s := range fleets {
		of, err := MeasureSticky(records, s.name, stickyConns)
		noError(t, err)
		results = append(results, StickyResult{Title: s.title, Connections: stickyConns, Sticky: of})
	}
	t.Logf("side by side:\n%s", StickyTable(results))
	if *write {
		noError(t, WriteBetween(docs, "sticky", StickyTable(results)))
	}
	checkSticky(t, &results[0], 0.97*chance)
	checkSticky(t, &results[1], 1*chance)
}

// chance is by how much a single run may miss the bars of the simulation, which are for the
// median of 20: as much as the worst of them may.
const chance = 1.25

// stickyLate is how many GOAWAYs may come when the band is reached already as seen from
// without: who counts calls may be wrong by a connection.
const stickyLate = 2

// checkSticky: most is how many GOAWAYs for each connection there may be.
func checkSticky(t *testing.T, s *StickyResult, most float64) {
	t.Helper()
	if s.Even < 0 {
		t.Errorf("%s: never in the band: %v", s.Title, s.PerPod)
	}
	if per := s.PerConnection(); per > most {
		t.Errorf("%s: %.2f GOAWAYs for each connection, want at most %.2f", s.Title, per, most)
	}
	if s.Failed > 0 {
		t.Errorf("%s: %d RPCs failed: %s", s.Title, s.Failed, s.Texts())
	}
	if s.Late > stickyLate {
		t.Errorf("%s: %d GOAWAYs when all pods were in the band, want at most %d", s.Title, s.Late, stickyLate)
	}
}
