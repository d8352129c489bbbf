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

// Missing says what this machine lacks, nil if it can have a cluster.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	errs := []error{node.CheckCgroups(), namespaces()}
	for _, program := range []string{"containerd", "ctr", "runc", "ip", "nft", "conntrack"} {
		if _, err := exec.LookPath(program); err != nil {
			errs = append(errs, fmt.Errorf("no %s: run.sh installs it", program))
		}
	}
	if _, err := os.Stat("/usr/lib/cni/bridge"); err != nil {
		errs = append(errs, errors.New("no /usr/lib/cni/bridge: run.sh installs it (containernetworking-plugins)"))
	}
	return errors.Join(errs...)
}

// namespaces tries what a node needs.
func namespaces() error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("no new namespaces: %w", err)
	}
	return nil
}

// require skips t loudly, or fails it in CI, where the machine cannot have a cluster.
func require(t testing.TB) {
	t.Helper()
	err := Missing()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("this machine cannot have a cluster, and CI must: %v", err)
	}
	logf("SKIPPED, no real Kubernetes on this machine: %v", err)
	t.Skipf("no cluster on this machine: %v", err)
}
