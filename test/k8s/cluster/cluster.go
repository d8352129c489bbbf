//go:build linux

// Package cluster runs a real one-node Kubernetes for tests. README.md, one folder up,
// describes its parts and how tests use it.
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
	// Full is a whole cluster: pods run, Services balance, DNS answers.
	Full Level = iota
	// APIOnly is etcd and the API server. No controller runs, so only the test creates
	// EndpointSlices and ServiceAccounts.
	APIOnly
)

// Options configures a cluster. The zero value is a full one, set up as by kubeadm.
type Options struct {
	Level Level
	// Corefile is CoreDNS' configuration. Default CorefileKubeadm.
	Corefile string
	// Log receives the progress. By default it is printed to os.Stderr.
	Log func(format string, args ...any)
}

// Addresses inside the cluster. 198.18.0.0/15 is reserved for tests (RFC 2544), so it is
// nobody's real network.
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

// Cluster is a running cluster.
type Cluster struct {
	// Dir is the run's folder, with logs, certificates and kubeconfigs.
	Dir string

	opts   Options
	cgroup string
	node   *node.Node
	netns  *os.File
	relay  net.Listener
	config *rest.Config
	client kubernetes.Interface
	parts  map[string]node.Program

	mu      sync.Mutex
	stopped map[string]bool // parts that a test has stopped
	begun   time.Time
}

// count gives every cluster of this process its own number.
var count struct {
	sync.Mutex
	n int
}

// New brings a cluster up, and Close takes it down. Tests call Up or Shared instead. If New
// fails, it keeps the run's folder and names it in the error.
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
		Dir: dir, opts: opts, begun: time.Now(), stopped: map[string]bool{},
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

// log prints progress with the time since New was called.
func (c *Cluster) log(format string, args ...any) {
	c.opts.Log("%5.1fs "+format, append([]any{time.Since(c.begun).Seconds()}, args...)...)
}

// upWithin bounds the time from nothing to a ready cluster. 12 s is usual.
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

// path returns the path of a file in the run's folder.
func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// Close takes the cluster down and removes the run's folder unless keep is set. It returns
// an error for each part that has ended although the test did not stop it.
func (c *Cluster) Close(keep bool) error {
	_, ended, err := c.node.Running()
	c.mu.Lock()
	for name, status := range ended {
		if !c.stopped[name] {
			err = errors.Join(err, fmt.Errorf("%s ended by itself: %s", name, status))
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

// Up brings a cluster up for t alone and takes it down when t ends. If this machine cannot
// run one, Up skips t, or fails it if CI=true.
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

// shared holds the shared clusters by their options.
var shared struct {
	sync.Mutex
	clusters map[sharedKey]*Cluster
}

// sharedKey is the part of Options that distinguishes shared clusters.
type sharedKey struct {
	level    Level
	corefile string
}

// Shared returns a cluster that all tests of the package with the same Options share. The
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

// Main is the body of TestMain: it runs the tests, takes the shared clusters down, and
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

// Kill ends a part with SIGKILL, like a crash, and waits until it is gone. Parts have the
// names of their programs: etcd, kube-apiserver, kube-controller-manager, kube-scheduler,
// kubelet, kube-proxy, containerd.
func (c *Cluster) Kill(name string) error { return c.end(name, syscall.SIGKILL) }

// Stop ends a part with SIGTERM and waits until it is gone.
func (c *Cluster) Stop(name string) error { return c.end(name, syscall.SIGTERM) }

func (c *Cluster) end(name string, sig syscall.Signal) error {
	c.mu.Lock()
	c.stopped[name] = true
	c.mu.Unlock()
	if err := c.node.Signal(name, sig); err != nil {
		return err
	}
	_, err := c.node.Wait(name)
	return err
}

// Start starts a stopped part again, with its first arguments. It does not wait until the
// part is ready. For the API server, WaitAPI does.
func (c *Cluster) Start(name string) error {
	p, ok := c.parts[name]
	if !ok {
		return fmt.Errorf("the cluster has no part named %q", name)
	}
	if err := c.node.Start(p); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped[name] = false
	return nil
}

// Run starts a program as one more part, with a log of its own. Its programs are those of the
// folder of the build, and of the machine.
func (c *Cluster) Run(name string, args ...string) error {
	c.parts[name] = node.Program{Name: name, Args: args, Log: c.path("log/" + name + ".log")}
	return c.Start(name)
}

// Signal sends any signal to a part. SIGSTOP makes it hang, and SIGCONT resumes it.
func (c *Cluster) Signal(name string, sig syscall.Signal) error { return c.node.Signal(name, sig) }
