//go:build linux

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// A program that imports this package becomes a node's first process if it is started under
// the name argv0. That happens before its own main, or its tests, begin.
func init() {
	if len(os.Args) == 1 && os.Args[0] == argv0 {
		first()
		os.Exit(0)
	}
}

// socketFD is the first descriptor of exec.Cmd.ExtraFiles.
const socketFD = 3

// first runs the first process from its start to its end.
func first() {
	// Ctrl-C in the terminal, or a CI job that is canceled, must not end this process. It
	// cleans up when the socket closes.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	in := &Init{programs: map[string]*program{}}
	if err := json.Unmarshal([]byte(os.Getenv(envConfig)), &in.cfg); err != nil {
		fmt.Fprintln(os.Stderr, "node: configuration:", err)
		return
	}
	_ = os.Unsetenv(envConfig)
	syscall.CloseOnExec(socketFD)
	conn, err := net.FileConn(os.NewFile(socketFD, "socket"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "node: socket:", err)
		return
	}
	server := rpc.NewServer()
	if err := server.Register(in); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		return
	}
	server.ServeConn(conn) // until the other end closes
	in.end()
}

// Init is the first process' side of the socket. Node calls its methods.
type Init struct {
	cfg Config

	mu       sync.Mutex
	programs map[string]*program
}

// program is a started program.
type program struct {
	pid    int
	done   chan struct{} // closed when the program has ended
	status string        // how it ended; read it after done
}

// Kill is the argument of Signal.
type Kill struct {
	Name   string
	Signal syscall.Signal
}

// State is the result of Init.State.
type State struct {
	Running []string
	Ended   map[string]string
}

// Setup creates the cgroup, the mounts and the network.
func (in *Init) Setup(struct{}, *struct{}) error {
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"cgroup", func() error { return makeCgroup(in.cfg.Cgroup) }},
		{"mounts", mounts},
		{"hostname", func() error { return syscall.Sethostname([]byte(in.cfg.Hostname)) }},
		{"network", in.network},
	} {
		if err := step.run(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if err := os.Setenv("PATH", in.cfg.Bin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	go in.reap()
	return nil
}

// mounts covers the folders that the node's programs write to, so that nothing reaches the
// machine.
func mounts() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/run", "/var/lib", "/var/log"} {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	// The containers' runtime must see the kubelet's mounts.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return err
	}
	return maskSysctls()
}

// globalSysctls belong to the whole machine, but the kubelet sets them.
var globalSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// maskSysctls mounts a plain file over each of them, which the kubelet may write to.
func maskSysctls() error {
	if err := os.MkdirAll("/run/sysctl", 0o755); err != nil {
		return err
	}
	for _, name := range globalSysctls {
		value, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return err
		}
		mask := "/run/sysctl/" + strings.ReplaceAll(name, "/", ".")
		if err := os.WriteFile(mask, value, 0o600); err != nil {
			return err
		}
		if err := syscall.Mount(mask, "/proc/sys/"+name, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// network gives the node its address on one end of a veth pair, because not every kernel has
// dummy devices. It adds a default route, which the kubelet and kube-proxy look for.
func (in *Init) network() error {
	for _, args := range []string{
		"link set lo up",
		"link add node0 type veth peer name node0p",
		"address add " + in.cfg.Address + " dev node0",
		"link set node0 up",
		"link set node0p up",
		"route add default dev node0",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	// Traffic between pods of one node through a Service passes the bridge. Only with this
	// module does it pass kube-proxy's rules, too.
	err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the kernel module br_netfilter is missing, run modprobe br_netfilter")
	}
	return err
}

// Start starts p. A name may be used again once its program has ended.
func (in *Init) Start(p Program, _ *struct{}) error {
	exe, err := exec.LookPath(p.Args[0])
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	in.mu.Lock() // held over the fork, so that reap finds the program even if it ends at once
	defer in.mu.Unlock()
	if old := in.programs[p.Name]; old != nil && old.status == "" {
		return fmt.Errorf("%s is already running", p.Name)
	}
	pid, err := syscall.ForkExec(exe, p.Args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", exe, err)
	}
	in.programs[p.Name] = &program{pid: pid, done: make(chan struct{})}
	return nil
}

// Signal sends a signal to a running program.
func (in *Init) Signal(k Kill, _ *struct{}) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	p := in.programs[k.Name]
	if p == nil || p.status != "" {
		return fmt.Errorf("%s is not running", k.Name)
	}
	return syscall.Kill(p.pid, k.Signal)
}

// Wait returns when the program has ended.
func (in *Init) Wait(name string, status *string) error {
	in.mu.Lock()
	p := in.programs[name]
	in.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s was never started", name)
	}
	<-p.done
	*status = p.status
	return nil
}

// State returns which programs run, and how the others ended.
func (in *Init) State(_ struct{}, s *State) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	s.Ended = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(in.programs)) {
		if status := in.programs[name].status; status != "" {
			s.Ended[name] = status
			continue
		}
		s.Running = append(s.Running, name)
	}
	return nil
}

// reap waits for every child. Orphans are children, too: the namespace's first process adopts
// the processes that containers' runtimes leave behind.
func (in *Init) reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for range children {
		in.reapAll()
	}
}

func (in *Init) reapAll() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if pid <= 0 || err != nil {
			return
		}
		for _, p := range in.programs {
			if p.pid == pid && p.status == "" {
				p.status = statusText(status)
				close(p.done)
			}
		}
	}
}

func statusText(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "killed: " + s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// end kills every process of the namespace and removes the cgroup. Mounts and network devices
// disappear with the first process.
func (in *Init) end() {
	in.mu.Lock() // never released: nothing else may start or reap a process now
	_ = syscall.Kill(-1, syscall.SIGKILL)
	for {
		_, err := syscall.Wait4(-1, nil, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			break // no child is left
		}
	}
	if err := leaveCgroup(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
	}
	if err := removeCgroup(in.cfg.Cgroup); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
	}
}
