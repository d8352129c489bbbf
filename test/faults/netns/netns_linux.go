// Package netns makes network namespaces that end with the process, and TUN devices in them.
package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Space is a network namespace.
type Space struct{ file *os.File }

// New makes a namespace with loopback up. It needs root. The kernel removes the namespace once it
// is closed and the last socket and process in it have ended.
func New() (*Space, error) {
	before, err := current()
	if err != nil {
		return nil, err
	}
	defer before.file.Close()
	var s *Space
	err = before.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("netns: unshare: %w", err)
		}
		s, err = current()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.IP("link", "set", "lo", "up"); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// current returns the namespace of this thread.
func current() (*Space, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	return &Space{f}, nil
}

// Close gives up the namespace.
func (s *Space) Close() { _ = s.file.Close() }

// Do calls f on a thread that is in the namespace. So are the sockets and the processes that f
// itself makes, but not those of goroutines that it starts.
func (s *Space) Do(f func() error) error {
	runtime.LockOSThread()
	before, err := current()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer before.file.Close()
	if err := s.enter(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	// A thread that cannot go back stays locked, and ends with its goroutine.
	if back := before.enter(); back != nil {
		return fmt.Errorf("netns: go back: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

func (s *Space) enter() error {
	return unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET) //nolint:wrapcheck // Do wraps it
}

// Dial connects from the namespace to an IP address. net dials those on the goroutine of the caller.
func (s *Space) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = s.Do(func() error {
		c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Listen listens for TCP in the namespace.
func (s *Space) Listen(addr string) (l net.Listener, err error) {
	err = s.Do(func() error {
		l, err = net.Listen("tcp", addr)
		return err
	})
	return l, err
}

// Start starts a process in the namespace.
func (s *Space) Start(cmd *exec.Cmd) error { return s.Do(cmd.Start) }

// Output runs a program in the namespace and returns what it prints.
func (s *Space) Output(argv ...string) (string, error) {
	var out []byte
	err := s.Do(func() (err error) {
		out, err = exec.Command(argv[0], argv[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("netns: %s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return string(out), nil
}

// IP runs the program ip in the namespace.
func (s *Space) IP(args ...string) error {
	_, err := s.Output(append([]string{"ip"}, args...)...)
	return err
}

// TUN makes a network device of which the program sees the IP packets. The namespace gets the
// addresses and sends everything else to the device, which is gone once the file is closed.
func (s *Space) TUN(name string, addrs ...string) (*os.File, error) {
	var f *os.File
	err := s.Do(func() (err error) {
		f, err = openTUN(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	steps := [][]string{{"link", "set", name, "up"}}
	for _, a := range addrs {
		steps = append(steps, []string{"addr", "add", a + "/32", "dev", name})
	}
	steps = append(steps, []string{"route", "add", "default", "dev", name})
	for _, args := range steps {
		if err := s.IP(args...); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return f, nil
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("netns: /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netns: device %s: %w", name, err)
	}
	// Being non-blocking, the file can be closed while it is read.
	return os.NewFile(uintptr(fd), name), nil
}
