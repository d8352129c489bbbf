//go:build linux

// Package node runs programs in namespaces of their own, so that nothing of them is
// left behind. The program that imports it is started a second time as the first
// process of new mount, network, pid and uts namespaces: there it mounts, makes the
// network and the cgroup, starts what it is told to over a socket, and at the end
// kills and removes all of it. That end comes too when the socket closes because the
// one who started it has died.
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

// Config is what the first process has to know.
type Config struct {
	// Cgroup is the name of the group, in every hierarchy, under which all
	// processes run: Cgroup/sys for what Start starts, Cgroup/pods for the kubelet.
	Cgroup string `json:"cgroup"`
	// Hostname inside.
	Hostname string `json:"hostname"`
	// Address of the node, with its mask.
	Address string `json:"address"`
	// Log is the file that takes what the first process has to say.
	Log string `json:"log"`
	// Bin stands first in the PATH of all programs.
	Bin string `json:"bin"`
}

// Node is a set of namespaces, seen from outside.
type Node struct {
	cfg  Config
	cmd  *exec.Cmd
	rpc  *rpc.Client
	done chan struct{}
}

// Program to start.
type Program struct {
	Name string
	Args []string
	// Log takes its output, appended.
	Log string
}

// argv0 tells the second start of this program from the first.
const argv0 = "evenkeel-node"

// envConfig hands it its Config.
const envConfig = "EVENKEEL_NODE"

// Start makes the namespaces. Errors: not root, no namespaces, no cgroups, or a
// program such as ip is missing.
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
		// Out of the terminal's reach: Ctrl-C is for the tests, which then clean up.
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

// Pid of the first process, as seen from outside.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

// Done is closed when the namespaces are gone.
func (n *Node) Done() <-chan struct{} { return n.done }

// Start starts a program.
func (n *Node) Start(p Program) error {
	return n.rpc.Call("Init.Start", p, &struct{}{})
}

// Signal sends sig to the program of that name.
func (n *Node) Signal(name string, sig syscall.Signal) error {
	return n.rpc.Call("Init.Signal", Kill{name, sig}, &struct{}{})
}

// Wait waits until the program has ended, and says how.
func (n *Node) Wait(name string) (status string, err error) {
	err = n.rpc.Call("Init.Wait", name, &status)
	return status, err
}

// Running names the programs that run, and says of the others how they ended.
func (n *Node) Running() (running []string, ended map[string]string, err error) {
	var s State
	err = n.rpc.Call("Init.State", struct{}{}, &s)
	return s.Running, s.Ended, err
}

// stopWithin bounds the end: processes are killed, and cgroups removed.
const stopWithin = 20 * time.Second

// Stop kills everything and waits until it is gone.
func (n *Node) Stop() error {
	_ = n.rpc.Close() // the sign
	select {
	case <-n.done:
	case <-time.After(stopWithin):
		_ = n.cmd.Process.Kill()
		<-n.done
	}
	// As a rule there is nothing left of it.
	return removeCgroup(n.cfg.Cgroup)
}
