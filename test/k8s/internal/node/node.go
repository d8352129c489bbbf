//go:build linux

// Package node runs programs in namespaces of their own, so that they leave nothing behind.
// The program that imports it is started a second time, as the first process of new mount,
// network, pid and uts namespaces. This process creates the mounts, the network and the
// cgroup, and starts programs on request over a socket. When the socket closes, it kills and
// removes everything. So it also cleans up if its parent dies.
package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Config configures the first process.
type Config struct {
	// Cgroup is the name of the group, in every hierarchy, in which all processes run:
	// programs that Start starts in Cgroup/sys, the kubelet's pods in Cgroup/pods.
	Cgroup string `json:"cgroup"`
	// Hostname is the host name inside the namespaces.
	Hostname string `json:"hostname"`
	// Address is the node's address with its mask.
	Address string `json:"address"`
	// Log is the file for the first process' own output.
	Log string `json:"log"`
	// Bin is the first folder in the PATH of all programs.
	Bin string `json:"bin"`
}

// Node is a set of namespaces, as its parent process sees it.
type Node struct {
	cfg  Config
	cmd  *exec.Cmd
	rpc  *rpc.Client
	done chan struct{}
}

// Program is a program to start.
type Program struct {
	Name string
	Args []string
	// Log is the file to which its output is appended.
	Log string
}

// argv0 distinguishes the second start of this program from the first.
const argv0 = "evenkeel-node"

// envConfig is the variable that passes the Config to the first process.
const envConfig = "EVENKEEL_NODE"

// Start creates the namespaces. It fails if the user is not root, if namespaces or cgroups
// cannot be created, or if a program such as ip is missing.
func Start(cfg Config) (*Node, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	log, err := os.OpenFile(cfg.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	defer log.Close()
	encoded, err := json.Marshal(cfg)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{argv0}
	cmd.Env = append(os.Environ(), envConfig+"="+string(encoded))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		// Ctrl-C in the terminal must reach only the tests, which then clean up.
		Setpgid: true,
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("namespaces: %w", err), ours.Close())
	}
	n := &Node{cfg: cfg, cmd: cmd, rpc: rpc.NewClient(ours), done: make(chan struct{})}
	go func() {
		defer close(n.done)
		_ = cmd.Wait()
	}()
	if err := n.rpc.Call("Init.Setup", struct{}{}, &struct{}{}); err != nil {
		return nil, errors.Join(fmt.Errorf("node: %w", err), n.Stop())
	}
	return n, nil
}

func socketpair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	mine := os.NewFile(uintptr(fds[0]), "node")
	defer mine.Close()
	conn, err := net.FileConn(mine)
	return conn, os.NewFile(uintptr(fds[1]), "node"), err
}

// Pid returns the pid of the first process in the parent's namespace.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

// Done returns a channel that is closed when the namespaces are gone.
func (n *Node) Done() <-chan struct{} { return n.done }

// Start starts a program.
func (n *Node) Start(p Program) error {
	return n.rpc.Call("Init.Start", p, &struct{}{})
}

// Signal sends sig to the program of that name.
func (n *Node) Signal(name string, sig syscall.Signal) error {
	return n.rpc.Call("Init.Signal", Kill{name, sig}, &struct{}{})
}

// Wait waits until the program has ended, and returns how it ended.
func (n *Node) Wait(name string) (status string, err error) {
	err = n.rpc.Call("Init.Wait", name, &status)
	return status, err
}

// Running returns the programs that run, and how the others ended.
func (n *Node) Running() (running []string, ended map[string]string, err error) {
	var s State
	err = n.rpc.Call("Init.State", struct{}{}, &s)
	return s.Running, s.Ended, err
}

// stopWithin bounds how long the first process may take to kill processes and remove cgroups.
const stopWithin = 20 * time.Second

// Stop kills everything and waits until it is gone.
func (n *Node) Stop() error {
	_ = n.rpc.Close() // makes the first process clean up
	select {
	case <-n.done:
	case <-time.After(stopWithin):
		_ = n.cmd.Process.Kill()
		<-n.done
	}
	// Usually the first process has removed it already.
	return removeCgroup(n.cfg.Cgroup)
}
