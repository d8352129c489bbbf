//go:build interop && linux

package faults

import (
	"flag"
	"os"
	"testing"
	"time"
)

var long = flag.Bool("long", false, "run all rows, for 12 s each, and compare more with bare servers")

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // the tests mostly wait
	flag.Parse()
	if *long {
		flag.Set("test.parallel", "1") // so that the rows disturb each other less
	}
	os.Exit(m.Run())
}

// needNetworks skips a test where network namespaces cannot be made. CI must not skip it.
func needNetworks(t *testing.T) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "network namespaces need root"
	} else if _, err := os.Stat("/dev/net/tun"); err != nil {
		missing = "TUN devices need /dev/net/tun: " + err.Error()
	}
	switch {
	case missing == "":
	case os.Getenv("CI") == "true":
		t.Fatal(missing)
	default:
		t.Skip(missing)
	}
}

// eventually polls until ok is true. limit must be far longer than needed, so that it only ends a
// test that has failed. what describes the failure.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) bool {
	t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Errorf("timeout after %v: %s", limit, what)
			return false
		}
	}
	return true
}
