package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// TestMain runs -count benchmarks in rounds, each in a process of its own. The testing package
// would run one server ten times and then the other, so any drift would look like a difference.
// All ten runs would also share the accidents of one process, such as its memory layout.
//
// The test binary also serves as a herd of clients, see herd, and as a pod, see startPod.
func TestMain(m *testing.M) {
	if spec := os.Getenv(herdEnv); spec != "" {
		os.Exit(herdMain(spec))
	}
	if spec := os.Getenv(podEnv); spec != "" {
		os.Exit(podMain(spec))
	}
	flag.Parse()
	round, _ = strconv.Atoi(os.Getenv(roundEnv))
	if n := benchRounds(); n > 1 {
		os.Exit(benchAll(n))
	}
	os.Exit(m.Run())
}

// roundEnv is the number of the round, set for child processes of this test binary.
const roundEnv = "EVENKEEL_BENCH_ROUND"

// round is the number of this round. Odd rounds take the servers in the opposite order.
var round int

// benchRounds is -count if -bench is set, else 1.
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

// benchAll runs the benchmarks n times. The last of repeated flags counts, so it can append
// -test.count=1.
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
