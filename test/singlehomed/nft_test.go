//go:build interop && linux

package singlehomed

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideEnv is set if the test binary runs in the network namespace.
const insideEnv = "SINGLEHOMED_INSIDE"

// A ClusterIP as in Kubernetes: nftables rewrites the destination of each new connection to a
// pod chosen by numgen, as kube-proxy does in nftables mode. Clients keep their addresses. Pods
// and clients run in a network namespace that the test creates.
func TestClusterIP(t *testing.T) {
	t.Parallel()
	if os.Getenv(insideEnv) == "" {
		runInside(t)
		return
	}
	v := newNFT(t)
	s := newService(t, place{
		pod: func(n int) string { return fmt.Sprintf("198.18.1.%d", n) },
		dns: "198.18.0.1", guard: "198.18.0.2",
	})
	v.port = s.ports.grpc
	s.vip = v
	k := scaling{clients: 2 * clients, quiet: time.Minute, up: true, down: true}
	checkCost(t, k.run(t, s), goAwayLimit)
}

// runInside runs the calling test in a new network namespace. It needs root.
func runInside(t *testing.T) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "8m", fmt.Sprintf("-server-log=%v", *serverLog))
	cmd.Env = append(os.Environ(), insideEnv+"=1", serverEnv+"="+serverBinary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("in a network namespace:\n%s", out)
	if err != nil {
		t.Error(err)
	}
}

const (
	vipHost  = "198.19.0.1"
	nftTable = "singlehomed"
)

// nft is a clusterIP made of kernel rules.
type nft struct{ port int }

func newNFT(t *testing.T) *nft {
	t.Helper()
	command(t, "", "ip", "link", "set", "lo", "up")
	for i := range 2 * clients {
		_, source := (&nft{}).front(i)
		command(t, "", "ip", "addr", "add", source+"/32", "dev", "lo")
	}
	for n := 1; n <= most; n++ {
		command(t, "", "ip", "addr", "add", fmt.Sprintf("198.18.1.%d/32", n), "dev", "lo")
	}
	command(t, "", "ip", "addr", "add", "198.18.0.1/32", "dev", "lo")
	command(t, "", "ip", "addr", "add", "198.18.0.2/32", "dev", "lo")
	command(t, "", "ip", "route", "add", vipHost+"/32", "dev", "lo")
	command(t, "table ip "+nftTable+" { chain services { type nat hook output priority -100; }; }", "nft", "-f", "-")
	return &nft{}
}

func (v *nft) front(i int) (addr, source string) {
	return fmt.Sprintf("%s:%d", vipHost, v.port), fmt.Sprintf("198.18.2.%d", i+1)
}

// set replaces the rule in one transaction. Open connections stay where they are.
func (v *nft) set(t *testing.T, pods []string) {
	t.Helper()
	var to []string
	for i, pod := range pods {
		host, _, _ := strings.Cut(pod, ":")
		to = append(to, fmt.Sprintf("%d : %s", i, host))
	}
	command(t, fmt.Sprintf("flush chain ip %[1]s services\nadd rule ip %[1]s services ip daddr %[2]s tcp dport %[3]d dnat to numgen random mod %[4]d map { %[5]s }\n",
		nftTable, vipHost, v.port, len(pods), strings.Join(to, ", ")), "nft", "-f", "-")
}

func command(t *testing.T, stdin string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, stdin, out)
	}
}
