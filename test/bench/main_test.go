package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// TestMain makes -count of benchmarks go round by round, each in a process of its
// own. The testing package would run one server ten times and then the other,
// so that whatever drifts in those minutes would look like a difference; and
// the accidents of one process, such as where its memory lies, would be in
// all ten runs.
//
// The test binary is its own herd of clients, too: see herd.
func TestMain(m *testing.M) {
	if spec := os.Getenv(herdEnv); spec != "" {
		os.Exit(herdMain(spec))
	}
	flag.Parse()
	round, _ = strconv.Atoi(os.Getenv(roundEnv))
	if n := benchRounds(); n > 1 {
		os.Exit(benchAll(n))
	}
	os.Exit(m.Run())
}

// roundEnv tells a child of this test binary which repetition it is.
const roundEnv = "EVENKEEL_BENCH_ROUND"

// round is which repetition this is; every other one goes through the servers
// in the opposite order.
var round int

// benchRounds is -count if there is a -bench.
func benchRounds() int {
	if flag.Lookup("test.bench").Value.String() == "" {
		return 1
	}
	n, err := strconv.Atoi(flag.Lookup("test.count").Value.String())
	if err != nil {
		return 1
	}
	return n
}

// benchAll runs the benchmarks n times; of two flags the later one counts.
func benchAll(n int) int {
	for i := range n {
		cmd := exec.Command(os.Args[0], append(os.Args[1:], "-test.count=1")...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", roundEnv, i))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
	}
	return 0
}
