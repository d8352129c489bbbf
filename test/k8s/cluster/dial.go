//go:build linux

package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// DialContext connects to a pod, a Service or the API server from the node, inside the
// cluster's network. The host must be an IP address. Lookup resolves a name to one.
func (c *Cluster) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		return nil, &net.AddrError{Err: "want an IP address, see Cluster.Lookup", Addr: address}
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// A socket belongs to the network of the thread that creates it. The thread is
		// never unlocked, so it ends with the goroutine and runs no other.
		runtime.LockOSThread()
		if err := unix.Setns(int(c.netns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// Lookup resolves a name with the cluster's DNS.
func (c *Cluster) Lookup(ctx context.Context, name string) ([]string, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return c.DialContext(ctx, network, dnsService+":53")
	}}
	return r.LookupHost(ctx, name)
}

// Command returns a command that runs inside the cluster's network, mounts and process ids.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	inside := []string{"--target", strconv.Itoa(c.node.Pid()), "--net", "--mount", "--pid", "--uts", "--", name}
	return exec.CommandContext(ctx, "nsenter", append(inside, args...)...)
}

// openRelay listens on the loopback address of this machine and forwards connections to the
// API server. Programs outside the namespaces use it: kubectl, helm and tests.
func (c *Cluster) openRelay() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.relay = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(conn)
		}
	}()
	return writeKubeconfig(c.Kubeconfig(), c.path("pki"), "admin", l.Addr().String())
}

// Kubeconfig returns a file for programs outside the namespaces. It works as long as the
// process that brought the cluster up lives.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig") }

func (c *Cluster) pass(from net.Conn) {
	to, err := c.DialContext(context.Background(), "tcp", apiAddress)
	if err != nil {
		// Reset the connection, as a closed port would.
		if tcp, ok := from.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = from.Close()
		return
	}
	both := make(chan error, 2)
	for _, way := range [][2]net.Conn{{to, from}, {from, to}} {
		go func() {
			_, err := io.Copy(way[0], way[1])
			both <- err
		}()
	}
	err = <-both // one side has closed
	err = errors.Join(err, from.Close(), to.Close(), <-both)
	_ = err // there is nothing left to close
}
