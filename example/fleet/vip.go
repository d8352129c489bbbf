package fleet

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// VIP stands in for the ClusterIP of a Service. It passes each new connection on to a random
// pod, from the address of its client, as kube-proxy does.
type VIP struct {
	ln net.Listener
	wg sync.WaitGroup

	mu   sync.Mutex // guards what follows
	pods []string
	open map[net.Conn]struct{}
}

// ListenVIP listens on addr. Nothing is passed on before Set.
func ListenVIP(addr string) (*VIP, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	v := &VIP{ln: ln, open: map[net.Conn]struct{}{}}
	v.wg.Go(v.serve)
	return v, nil
}

// Addr returns the address on which it listens.
func (v *VIP) Addr() string { return v.ln.Addr().String() }

// Set replaces the pods, each as host:port. Connections that are open stay where they are.
func (v *VIP) Set(pods ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pods = pods
}

// Close closes the listener and all connections.
func (v *VIP) Close() {
	_ = v.ln.Close()
	v.mu.Lock()
	for nc := range v.open {
		_ = nc.Close()
	}
	v.mu.Unlock()
	v.wg.Wait()
}

func (v *VIP) serve() {
	for {
		client, err := v.ln.Accept()
		if err != nil {
			return
		}
		v.wg.Go(func() { v.pass(client) })
	}
}

// connectTimeout is far longer than a connection on one machine takes.
const connectTimeout = 5 * time.Second

func (v *VIP) pass(client net.Conn) {
	defer client.Close()
	pod := v.pick()
	from, ok := client.RemoteAddr().(*net.TCPAddr)
	if pod == "" || !ok {
		return
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.IP}, Timeout: connectTimeout}
	server, err := d.DialContext(context.Background(), "tcp", pod)
	if err != nil {
		return
	}
	defer server.Close()
	v.keep(client, server)
	defer v.forget(client, server)
	var wg sync.WaitGroup
	wg.Go(func() { forward(server, client) })
	wg.Go(func() { forward(client, server) })
	wg.Wait()
}

// forward copies until the end of one direction, and passes that end on.
func forward(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (v *VIP) pick() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.pods) == 0 {
		return ""
	}
	return v.pods[rand.IntN(len(v.pods))]
}

func (v *VIP) keep(all ...net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, nc := range all {
		v.open[nc] = struct{}{}
	}
}

func (v *VIP) forget(all ...net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, nc := range all {
		delete(v.open, nc)
	}
}
