package sidecar

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// logs adds the logs of all processes to the log of the test.
var logs = flag.Bool("logs", false, "show the logs of the servers and sidecars")

// The programs are built once.
var sidecarProgram, goServer string

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4") // the tests mostly wait
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sidecar")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	sidecarProgram, goServer = filepath.Join(dir, "sidecar"), filepath.Join(dir, "server")
	for program, pkg := range map[string]string{
		sidecarProgram: "github.com/evenkeel-go/evenkeel/cmd/evenkeel-sidecar", goServer: "github.com/evenkeel-go/evenkeel/test/sidecar/server",
	} {
		// The sidecar is a module of its own, which this one does not require: go.work joins them.
		if out, err := exec.Command("go", "build", "-o", program, pkg).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}
