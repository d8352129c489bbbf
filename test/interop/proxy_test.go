//go:build interop

package interop

import (
	"bytes"
	_ "embed"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

//go:embed proxies/nginx.conf
var nginxConf string

//go:embed proxies/haproxy.cfg
var haproxyConf string

//go:embed proxies/envoy.yaml
var envoyConf string

// proxy is a proxy between a client and the servers.
type proxy struct {
	*process
	addr, version string
	// ca is its certificate, if its clients speak TLS.
	ca string
}

// label returns the version in the table: that of the proxy, and of a client with TLS, a browser, as well.
func (p *proxy) label(client string) string {
	if p.ca == "" {
		return p.version
	}
	return client + ", Envoy " + p.version
}

// proxyKind is what startProxy needs to know of a program.
type proxyKind struct {
	// conf is the template of its configuration, data what it needs besides the usual.
	conf string
	data map[string]any
	// argv starts it with the configuration's path, conf, and a folder of its own, dir.
	argv func(dir, conf string) []string
	// versionFlag makes it print its version.
	versionFlag string
	// addr is where it listens; empty: at a socket in its folder.
	addr string
}

// proxyVersion matches what nginx, haproxy and Envoy print.
var proxyVersion = regexp.MustCompile(`version:? +(?:nginx/|[0-9a-f]{40}/)?([0-9][^-/ ]*)`)

func nginx(t *testing.T, s *server) *proxy {
	return startProxy(t, s, proxyKind{conf: nginxConf, versionFlag: "-v", argv: func(dir, conf string) []string {
		return []string{"/usr/sbin/nginx", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", conf}
	}})
}

func haproxy(t *testing.T, s *server) *proxy {
	return startProxy(t, s, proxyKind{conf: haproxyConf, versionFlag: "-v", argv: func(_, conf string) []string {
		return []string{"/usr/sbin/haproxy", "-db", "-f", conf}
	}})
}

// envoy returns a function that starts Envoy with a policy for a DNS name of all servers. If it is
// tuned, it knows the servers' MAX_CONCURRENT_STREAMS (8) and retries refused streams.
func envoy(policy string, tuned bool) func(*testing.T, *server) *proxy {
	return func(t *testing.T, s *server) *proxy {
		_, port, _ := net.SplitHostPort(s.GRPC[0])
		return envoyAt(policy, port, listenDNS(t, s), tuned)(t, s)
	}
}

// envoyAt is envoy for pods with this port that a DNS server lists.
func envoyAt(policy, port string, dns netip.AddrPort, tuned bool) func(*testing.T, *server) *proxy {
	return func(t *testing.T, s *server) *proxy {
		return startEnvoy(t, s, "", map[string]any{"Policy": policy, "Tuned": tuned, "Port": port, "DNS": dns})
	}
}

// envoyWeb starts Envoy for browsers. It has the page that run.sh has built, and turns the gRPC-Web of
// the page into gRPC. Its port is that of the servers, which no other row has.
func envoyWeb(t *testing.T, s *server) *proxy {
	const host = "127.0.4.253"
	_, port, _ := net.SplitHostPort(s.GRPC[0])
	cert, key := certificate(t)
	web := map[string]string{"Addr": host, "Page": built("web", "page.html"), "Cert": cert, "Key": key}
	p := startEnvoy(t, s, net.JoinHostPort(host, port), map[string]any{"Policy": "ROUND_ROBIN", "Port": port, "DNS": listenDNS(t, s), "Web": web})
	p.ca = cert
	return p
}

func startEnvoy(t *testing.T, s *server, addr string, data map[string]any) *proxy {
	t.Helper()
	program, err := filepath.Glob(built("venv", "lib", "python3*", "site-packages", "envoy", "_bin", "envoy"))
	if err != nil || len(program) != 1 {
		t.Fatalf("got %v (%v), want one envoy, which run.sh installs", program, err)
	}
	return startProxy(t, s, proxyKind{conf: envoyConf, data: data, addr: addr, versionFlag: "--version", argv: func(_, conf string) []string {
		return []string{program[0], "-c", conf, "--concurrency", "2", "--disable-hot-restart", "--log-level", "warn"}
	}})
}

// listenDNS starts a DNS server that has hello.test with the addresses of all servers.
func listenDNS(t *testing.T, s *server) netip.AddrPort {
	t.Helper()
	dns, err := fleet.ListenDNS(5*time.Second, "127.0.4.254:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	var addrs []netip.Addr
	for _, target := range s.GRPC {
		addrs = append(addrs, netip.MustParseAddrPort(target).Addr())
	}
	dns.Set("hello.test", addrs...)
	return netip.MustParseAddrPort(dns.Addrs()[0])
}

func startProxy(t *testing.T, s *server, kind proxyKind) *proxy {
	t.Helper()
	// The path of a socket must be short, so t.TempDir would not do.
	dir, err := os.MkdirTemp("", "ip")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	sock := filepath.Join(dir, "front")
	var b bytes.Buffer
	data := map[string]any{"Dir": dir, "Socket": sock, "Servers": s.GRPC}
	maps.Copy(data, kind.data)
	if err := template.Must(template.New("").Parse(kind.conf)).Execute(&b, data); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "conf.yaml") // Envoy knows YAML by the name
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &proxy{process: start(t, kind.argv(dir, path), nil), addr: kind.addr}
	network, at := "tcp", kind.addr
	if at == "" {
		p.addr, network, at = "unix:"+sock, "unix", sock
	}
	p.version = versionOf(t, p.cmd.Path, kind.versionFlag)
	if !eventually(t, 20*time.Second, "the proxy is not listening", func() bool { return listens(network, at) }) {
		t.FailNow()
	}
	return p
}

func versionOf(t *testing.T, program, flag string) string {
	t.Helper()
	out, err := exec.Command(program, flag).CombinedOutput()
	m := proxyVersion.FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%s %s: %v: %s", program, flag, err, out)
	}
	return strings.TrimSpace(string(m[1]))
}

func listens(network, addr string) bool {
	c, err := net.Dial(network, addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// stop ends the proxy, since its idle connections to the servers would stay open.
func (p *proxy) stop(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done: // haproxy exits with status 143, nginx with 0
	case <-time.After(30 * time.Second):
		t.Error("the proxy did not exit within 30 s")
	}
}
