//go:build linux

// Package cluster is a real one-node Kubernetes for tests. README.md, one folder up,
// says what it is made of and how tests use it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-go/evenkeel/test/k8s/internal/node"
)

// Level is how much of a cluster there is.
type Level int

const (
	// Full is everything: pods run, Services balance, DNS answers.
	Full Level = iota
	// APIOnly is etcd and the API server. No controller runs: nothing makes
	// EndpointSlices or the default ServiceAccount but the test.
	APIOnly
)

// Options of a cluster. The zero value is a full one as kubeadm would set it up.
type Options struct {
	Level Level
	// Corefile of CoreDNS. Default CorefileKubeadm.
	Corefile string
	// Log takes progress. Default os.Stderr through Printf of this package.
	Log func(format string, args ...any)
}

// Addresses inside. 198.18.0.0/15 is set aside for tests (RFC 2544): none of it is
// anybody's real network.
const (
	nodeName    = "node1"
	nodeIP      = "198.18.0.1"
	nodeNet     = nodeIP + "/24"
	podNet      = "198.18.16.0/20"
	serviceNet  = "198.19.0.0/16"
	apiService  = "198.19.0.1"
	dnsService  = "198.19.0.10"
	apiAddress  = nodeIP + ":6443"
	etcdAddress = "127.0.0.1:2379"
)

// Cluster that is up.
type Cluster struct {
	// Dir is the run's folder: logs, certificates, kubeconfigs.
	Dir string

	opts   Options
	cgroup string
	node   *node.Node
	netns  *os.File
	relay  net.Listener
	config *rest.Config
	client kubernetes.Interface
	parts  map[string]node.Program

	mu     sync.Mutex
	killed map[string]bool // parts that a test has stopped
	begun  time.Time
}

// count tells clusters of one process apart.
var count struct {
	sync.Mutex
	n int
}

// New brings a cluster up; Close takes it down. Tests call Up or Shared. Errors keep
// the run's folder, and name it.
func New(opts Options) (*Cluster, error) {
	if opts.Log == nil {
		opts.Log = logf
	}
	if opts.Corefile == "" {
		opts.Corefile = CorefileKubeadm
	}
	if err := Build(opts.Level, opts.Log); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "evenkeel-k8s-")
	if err != nil {
		return nil, err
	}
	count.Lock()
	count.n++
	c := &Cluster{
		Dir: dir, opts: opts, begun: time.Now(), killed: map[string]bool{},
		cgroup: fmt.Sprintf("evenkeel-%d-%d", os.Getpid(), count.n),
	}
	count.Unlock()
	if err := c.up(); err != nil {
		err = fmt.Errorf("cluster: %w (logs: %s)", err, dir)
		c.printLogs()
		return nil, errors.Join(err, c.down())
	}
	return c, nil
}

// log with the time since the beginning.
func (c *Cluster) log(format string, args ...any) {
	c.opts.Log("%5.1fs "+format, append([]any{time.Since(c.begun).Seconds()}, args...)...)
}

// upWithin bounds the way from nothing to ready; 12 s is usual.
const upWithin = 3 * time.Minute

func (c *Cluster) up() error {
	ctx, cancel := context.WithTimeout(context.Background(), upWithin)
	defer cancel()
	if err := c.startNode(); err != nil {
		return err
	}
	if c.opts.Level == APIOnly {
		return c.upAPI(ctx)
	}
	runtimeUp := make(chan error, 1)
	go func() { runtimeUp <- c.upRuntime(ctx) }()
	return errors.Join(c.upAPI(ctx), <-runtimeUp, c.upNode(ctx))
}

func (c *Cluster) startNode() (err error) {
	for _, sub := range []string{"log", "pods", "pki", "etc"} {
		if err := os.Mkdir(filepath.Join(c.Dir, sub), 0o700); err != nil {
			return err
		}
	}
	if err := makePKI(c.path("pki")); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if err := c.writeConfigs(); err != nil {
		return err
	}
	c.parts = c.programs()
	c.node, err = node.Start(node.Config{
		Cgroup: c.cgroup, Hostname: nodeName, Address: nodeNet,
		Log: c.path("log/node.log"), Bin: binDir(),
	})
	if err != nil {
		return err
	}
	if c.netns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", c.node.Pid())); err != nil {
		return err
	}
	return c.openRelay()
}

// path in the run's folder.
func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// Close takes the cluster down and removes the run's folder unless keep is set. It
// tells of parts that have ended although nobody stopped them.
func (c *Cluster) Close(keep bool) error {
	_, ended, err := c.node.Running()
	c.mu.Lock()
	for name, status := range ended {
		if !c.killed[name] {
			err = errors.Join(err, fmt.Errorf("%s has ended: %s", name, status))
		}
	}
	c.mu.Unlock()
	keep = keep || err != nil
	if keep {
		c.printLogs()
	}
	err = errors.Join(err, c.down())
	if keep {
		c.log("logs: %s", c.Dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(c.Dir))
}

func (c *Cluster) down() error {
	if c.relay != nil {
		_ = c.relay.Close()
	}
	if c.netns != nil {
		_ = c.netns.Close()
	}
	if c.node == nil {
		return nil
	}
	return c.node.Stop()
}

// Up is a cluster for t alone, down when t ends. It skips t where the machine cannot
// have one, unless CI=true: then it fails t.
func Up(t testing.TB, opts Options) *Cluster {
	t.Helper()
	require(t)
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(t.Failed()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// shared clusters by what they are.
var shared struct {
	sync.Mutex
	clusters map[sharedKey]*Cluster
}

// sharedKey is what tells shared clusters apart.
type sharedKey struct {
	level    Level
	corefile string
}

// Shared is one cluster for all tests of the package with the same Options; the
// package's TestMain must call Main, which takes it down.
func Shared(t testing.TB, opts Options) *Cluster {
	t.Helper()
	require(t)
	key := sharedKey{opts.Level, opts.Corefile}
	shared.Lock()
	defer shared.Unlock()
	if c := shared.clusters[key]; c != nil {
		return c
	}
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if shared.clusters == nil {
		shared.clusters = map[sharedKey]*Cluster{}
	}
	shared.clusters[key] = c
	return c
}

// Main is TestMain's work: it runs the tests, takes the shared clusters down and
// returns the exit status.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	for _, c := range shared.clusters {
		if err := c.Close(code != 0); err != nil {
			logf("%v", err)
			code = 1
		}
	}
	return code
}

// Kill ends a part with SIGKILL, as a crash would, and waits until it is gone. Names
// are those of the programs: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, kubelet, kube-proxy, containerd.
func (c *Cluster) Kill(name string) error { return c.end(name, syscall.SIGKILL) }

// Stop ends a part with SIGTERM and waits until it is gone.
func (c *Cluster) Stop(name string) error { return c.end(name, syscall.SIGTERM) }

func (c *Cluster) end(name string, sig syscall.Signal) error {
	c.mu.Lock()
	c.killed[name] = true
	c.mu.Unlock()
	if err := c.node.Signal(name, sig); err != nil {
		return err
	}
	_, err := c.node.Wait(name)
	return err
}

// Start starts a part that was stopped, as it was started first. It does not wait
// until the part is ready: WaitAPI does, for the API server.
func (c *Cluster) Start(name string) error {
	p, ok := c.parts[name]
	if !ok {
		return fmt.Errorf("no part is called %q", name)
	}
	if err := c.node.Start(p); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed[name] = false
	return nil
}

// Signal sends any signal to a part: SIGSTOP makes it hang, SIGCONT go on.
func (c *Cluster) Signal(name string, sig syscall.Signal) error { return c.node.Signal(name, sig) }
