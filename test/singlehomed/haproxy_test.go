//go:build interop

package singlehomed

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

//go:embed haproxy.cfg
var haproxyConf string

// haproxy is a clusterIP, as it may be used outside of Kubernetes.
type haproxy struct {
	net, port int
	admin     string
	fronts    int
}

// startHaproxy starts haproxy with one front for each of n clients. Pods see one source address
// per front. With nat there is one front, and so one address, for all clients.
func startHaproxy(t *testing.T, s *service, netNumber, n int, nat bool) *haproxy {
	t.Helper()
	// The path of a socket must be short, so t.TempDir would not do.
	dir, err := os.MkdirTemp("", "single")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &haproxy{net: netNumber, port: s.ports.grpc, admin: filepath.Join(dir, "admin"), fronts: n}
	if nat {
		h.fronts = 1
	}
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, h.conf(t, s), 0o600); err != nil {
		t.Fatal(err)
	}
	log := func(line string) {
		if !strings.HasPrefix(line, "[WARNING]") { // a server was enabled or disabled
			t.Log("haproxy:", line)
		}
	}
	p, err := fleet.Start([]string{"/usr/sbin/haproxy", "-db", "-f", conf}, nil, log, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); <-p.Done() })
	eventually(t, time.Minute, "haproxy is not listening", func() bool {
		if p.Exited() {
			t.Fatal("haproxy exited")
		}
		c, err := net.Dial("unix", h.admin)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return h
}

func (h *haproxy) conf(t *testing.T, s *service) []byte {
	t.Helper()
	type front struct{ Name, Bind, Source string }
	type pod struct{ Name, Addr string }
	data := struct {
		Admin  string
		Fronts []front
		Pods   []pod
	}{Admin: h.admin}
	for i := range h.fronts {
		addr, _ := h.front(i)
		data.Fronts = append(data.Fronts, front{fmt.Sprintf("front%d", i), addr, fmt.Sprintf("127.22.%d.%d", h.net, i+1)})
	}
	for n := 1; n <= most; n++ {
		data.Pods = append(data.Pods, pod{h.server(s.pod(n)), fmt.Sprintf("%s:%d", s.pod(n), h.port)})
	}
	var b bytes.Buffer
	if err := template.Must(template.New("").Parse(haproxyConf)).Execute(&b, data); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (h *haproxy) server(host string) string { return "p" + strings.ReplaceAll(host, ".", "-") }

func (h *haproxy) front(i int) (addr, source string) {
	return fmt.Sprintf("127.23.%d.%d:%d", h.net, i%h.fronts+1, h.port), ""
}

// set enables the servers of these pods behind every front and disables all others.
func (h *haproxy) set(t *testing.T, pods []string) {
	t.Helper()
	var on []string
	for _, pod := range pods {
		host, _, _ := strings.Cut(pod, ":")
		on = append(on, h.server(host))
	}
	var b strings.Builder
	for i := range h.fronts {
		for n := 1; n <= most; n++ {
			server := h.server(loopback(h.net).pod(n))
			state := "maint"
			if slices.Contains(on, server) {
				state = "ready"
			}
			fmt.Fprintf(&b, "set server front%d/%s state %s;", i, server, state)
		}
		h.send(t, strings.TrimSuffix(b.String(), ";"))
		b.Reset()
	}
}

func (h *haproxy) send(t *testing.T, commands string) {
	t.Helper()
	c, err := net.Dial("unix", h.admin)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintln(c, commands)
	out, err := io.ReadAll(c)
	if text := strings.TrimSpace(string(out)); err != nil || text != "" {
		t.Fatalf("haproxy: %v: %s", err, text)
	}
}

// haproxy passes TCP on to a random pod, and pods see one address per client.
func TestHaproxy(t *testing.T) {
	t.Parallel()
	const netNumber = 7
	s := newService(t, loopback(netNumber))
	s.vip = startHaproxy(t, s, netNumber, 2*clients, false)
	k := scaling{clients: 2 * clients, quiet: 20 * time.Second, up: true, down: true}
	checkCost(t, k.run(t, s), goAwayLimit)
}

// oneAddressLimit is higher than goAwayLimit. A key that is on every pod may belong to
// round_robin clients, so its owner first drains a third of the connections in vain.
const oneAddressLimit = goAwayLimit + 1./3

// All clients have the same address, as behind a NAT, so there is one key on every pod.
func TestHaproxyOneAddress(t *testing.T) {
	t.Parallel()
	const netNumber = 8
	s := newService(t, loopback(netNumber))
	s.vip = startHaproxy(t, s, netNumber, 2*clients, true)
	k := scaling{clients: 2 * clients, quiet: 20 * time.Second, up: true, down: true}
	checkCost(t, k.run(t, s), oneAddressLimit)
}
