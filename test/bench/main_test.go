package bench

import (
	"flag"
	"os"
	"strconv"
	"testing"
)

// TestMain makes -count of benchmarks go round by round. The testing package
// would run one server ten times and then the other, so that whatever else
// drifts in those minutes (heat, neighbours) would look like a difference.
//
// The test binary is its own herd of clients, too: see herd.
func TestMain(m *testing.M) {
	if spec := os.Getenv(herdEnv); spec != "" {
		os.Exit(herdMain(spec))
	}
	flag.Parse()
	code := 0
	for round = range benchRounds() {
		code = max(code, m.Run())
	}
	os.Exit(code)
}

// round is which repetition this is; every other one goes through the servers
// in the opposite order, since the second of two runs on a warmer heap.
var round int

// benchRounds takes -count from the testing package if there is a -bench.
func benchRounds() int {
	if flag.Lookup("test.bench").Value.String() == "" {
		return 1
	}
	n, err := strconv.Atoi(flag.Lookup("test.count").Value.String())
	if err != nil || n < 2 {
		return 1
	}
	if err := flag.Set("test.count", "1"); err != nil {
		return 1
	}
	return n
}
