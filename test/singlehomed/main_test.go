package singlehomed

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// serverEnv is the path of the server's binary, for a test that runs itself in a network
// namespace.
const serverEnv = "SINGLEHOMED_SERVER"

var (
	// serverLog adds the servers' logs, with their decisions, to the log of the test.
	serverLog = flag.Bool("server-log", false, "show the servers' logs")
	// fleets is more than 1, since a single run varies a lot by chance.
	fleets = flag.Int("fleets", 3, "number of services that TestSingleHomed runs in parallel; it checks their median")
)

// serverBinary is the path of example/server, built once.
var serverBinary string

func TestMain(m *testing.M) {
	// The tests mostly wait.
	flag.Set("test.parallel", "8")
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if serverBinary = os.Getenv(serverEnv); serverBinary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "singlehomed")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	serverBinary = filepath.Join(dir, "server")
	build := exec.Command("go", "build", "-o", serverBinary, "github.com/evenkeel-go/evenkeel/example/server")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}
