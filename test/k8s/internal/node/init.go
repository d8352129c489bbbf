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

// A program that imports this package becomes a node's first process when it is
// started by that name, before its own main, or its tests, begin.
func init() {
	if len(os.Args) == 1 && os.Args[0] == argv0 {
		first()
		os.Exit(0)
	}
}

// socketFD is where ExtraFiles begin.
const socketFD = 3

// first is the whole life of the first process.
func first() {
	// A Ctrl-C of the terminal, or a CI job that is being stopped: the end comes in
	// order, when the socket closes.
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

// Init is what the first process does when told. Its methods are called by Node.
type Init struct {
	cfg Config

	mu       sync.Mutex
	programs map[string]*program
}

// program that was started.
type program struct {
	pid    int
	done   chan struct{} // closed when it has ended
	status string        // how; read after done
}

// Kill is the argument of Signal.
type Kill struct {
	Name   string
	Signal syscall.Signal
}

// State is the result of the method of that name.
type State struct {
	Running []string
	Ended   map[string]string
}

// Setup makes the mounts, the network and the cgroup.
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

// mounts hides what the node's programs write to: nothing of it reaches the machine.
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
	// The kubelet's mounts must be seen by the containers' runtime.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return err
	}
	return maskSysctls()
}

// globalSysctls belong to the whole machine, and the kubelet sets them.
var globalSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// maskSysctls lays a plain file over each, which the kubelet may write as it likes.
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

// network gives the node its address on one end of a veth pair (not every kernel has
// dummy devices), and a route through it, which the kubelet and kube-proxy look for.
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
	// What pods of one node send each other through a Service passes the bridge; it
	// must pass kube-proxy's rules as well. Without the module they do not.
	err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the kernel module br_netfilter is missing: modprobe br_netfilter")
	}
	return err
}

// Start starts p. A name may be used again when its program has ended.
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
	in.mu.Lock() // and so reap cannot see it end before it is known
	defer in.mu.Unlock()
	if old := in.programs[p.Name]; old != nil && old.status == "" {
		return fmt.Errorf("%s runs already", p.Name)
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

// Signal sends a signal to a program that runs.
func (in *Init) Signal(k Kill, _ *struct{}) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	p := in.programs[k.Name]
	if p == nil || p.status != "" {
		return fmt.Errorf("%s does not run", k.Name)
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

// State of all programs.
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

// reap waits for every child, also for those that others have left to the first
// process of the namespace, as containers' runtimes do.
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
				p.status = how(status)
				close(p.done)
			}
		}
	}
}

func how(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "killed: " + s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// end kills every process of the namespace and removes the cgroup. Mounts and
// network devices go with the first process.
func (in *Init) end() {
	in.mu.Lock() // no more reaping but here, no more starts
	_ = syscall.Kill(-1, syscall.SIGKILL)
	for {
		_, err := syscall.Wait4(-1, nil, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			break // none is left
		}
	}
	if err := leaveCgroup(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
	}
	if err := removeCgroup(in.cfg.Cgroup); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
	}
}
