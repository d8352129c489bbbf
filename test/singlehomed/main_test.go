package singlehomed

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// serverEnv tells a test that runs itself in a network namespace where the server's
// binary is.
const serverEnv = "STICKY_SERVER"

var (
	// serverLog shows what the servers decide, among the lines of the test.
	serverLog = flag.Bool("server-log", false, "show the servers' logs")
	// fleets: one run says little where chance is large.
	fleets = flag.Int("fleets", 3, "how many services TestSticky runs side by side; the median is judged")
)

// serverBinary is example/server, built once.
var serverBinary string

func TestMain(m *testing.M) {
	// The tests wait more than they work.
	flag.Set("test.parallel", "8")
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if serverBinary = os.Getenv(serverEnv); serverBinary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "sticky")
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
