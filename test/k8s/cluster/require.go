//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/evenkeel-go/evenkeel/test/k8s/internal/node"
)

// Missing returns an error that names what this machine lacks, nil if it can run a cluster.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("the user is not root")
	}
	errs := []error{node.CheckCgroups(), namespaces()}
	for _, program := range []string{"containerd", "ctr", "runc", "ip", "nft", "conntrack"} {
		if _, err := exec.LookPath(program); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing, test/k8s/run.sh installs it", program))
		}
	}
	if _, err := os.Stat("/usr/lib/cni/bridge"); err != nil {
		errs = append(errs, errors.New("/usr/lib/cni/bridge is missing, test/k8s/run.sh installs it (containernetworking-plugins)"))
	}
	return errors.Join(errs...)
}

// namespaces tries to create the namespaces that a node needs.
func namespaces() error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot create namespaces: %w", err)
	}
	return nil
}

// require skips t if this machine cannot run a cluster, and prints why. With CI=true it fails
// t instead.
func require(t testing.TB) {
	t.Helper()
	err := Missing()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI=true, but this machine cannot run a cluster: %v", err)
	}
	logf("SKIPPED, this machine cannot run a cluster: %v", err)
	t.Skipf("this machine cannot run a cluster: %v", err)
}
