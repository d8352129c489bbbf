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

// haproxy is a ClusterIP, or what stands in for one outside of Kubernetes.
type haproxy struct {
	net, port int
	admin     string
	fronts    int
}

// startHaproxy has a front for each of n clients, behind which the client has an address
// of its own; with nat, one front and one address for all.
func startHaproxy(t *testing.T, s *service, netNumber, n int, nat bool) *haproxy {
	t.Helper()
	// Not t.TempDir(): a socket's path must be short.
	dir, err := os.MkdirTemp("", "sticky")
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
		if !strings.HasPrefix(line, "[WARNING]") { // a server comes or goes
			t.Log("haproxy:", line)
		}
	}
	p, err := fleet.Start([]string{"/usr/sbin/haproxy", "-db", "-f", conf}, nil, log, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); <-p.Done() })
	eventually(t, time.Minute, "haproxy does not listen", func() bool {
		if p.Exited() {
			t.Fatal("haproxy has ended")
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

// set enables the pods' servers behind every front, and no others.
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
		h.tell(t, strings.TrimSuffix(b.String(), ";"))
		b.Reset()
	}
}

func (h *haproxy) tell(t *testing.T, commands string) {
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

// haproxy passes TCP on and chooses by chance; each client has an address of its own
// behind it.
func TestHaproxy(t *testing.T) {
	t.Parallel()
	const netNumber = 7
	s := newService(t, loopback(netNumber))
	s.vip = startHaproxy(t, s, netNumber, 2*clients, false)
	k := course{clients: 2 * clients, quiet: 20 * time.Second, up: true, down: true}
	checkCost(t, k.run(t, s), goAwayLimit)
}

// oneAddressLimit is higher: a key that is on every pod may be of round_robin clients,
// so that its owner tries that first, with a third of the connections in vain.
const oneAddressLimit = goAwayLimit + 1./3

// The same with all clients behind one address, as behind a NAT: one key on every pod.
func TestHaproxyOneAddress(t *testing.T) {
	t.Parallel()
	const netNumber = 8
	s := newService(t, loopback(netNumber))
	s.vip = startHaproxy(t, s, netNumber, 2*clients, true)
	k := course{clients: 2 * clients, quiet: 20 * time.Second, up: true, down: true}
	checkCost(t, k.run(t, s), oneAddressLimit)
}
