package live

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	// long adds the tests that take several minutes.
	long = flag.Bool("long", false, "run the crashing pod for five minutes, and more idle connections")
	// serverLog adds the servers' logs to the log of the test.
	serverLog = flag.Bool("server-log", false, "show the servers' logs")
)

// The servers are built once. exampleServer is that of the example. politeServer has streams
// that go on although the pod stops.
var exampleServer, politeServer string

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "10") // the tests mostly wait
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "live")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	exampleServer, politeServer = filepath.Join(dir, "example"), filepath.Join(dir, "polite")
	for binary, pkg := range map[string]string{
		exampleServer: "github.com/evenkeel-go/evenkeel/example/server", politeServer: "github.com/evenkeel-go/evenkeel/test/polite/server",
	} {
		if out, err := exec.Command("go", "build", "-o", binary, pkg).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}
