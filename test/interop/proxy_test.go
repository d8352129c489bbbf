//go:build interop

package interop

import (
	"bytes"
	_ "embed"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

//go:embed proxies/nginx.conf
var nginxConf string

//go:embed proxies/haproxy.cfg
var haproxyConf string

// proxy is a proxy between a client and the servers.
type proxy struct {
	*process
	addr, version string
}

var proxyVersion = regexp.MustCompile(`version:? (?:nginx/)?([0-9][^- ]*)`)

func nginx(t *testing.T, s *server) *proxy {
	return startProxy(t, s, nginxConf, func(dir, conf string) []string {
		return []string{"/usr/sbin/nginx", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", conf}
	})
}

func haproxy(t *testing.T, s *server) *proxy {
	return startProxy(t, s, haproxyConf, func(_, conf string) []string {
		return []string{"/usr/sbin/haproxy", "-db", "-f", conf}
	})
}

func startProxy(t *testing.T, s *server, conf string, argv func(dir, conf string) []string) *proxy {
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
	if err := template.Must(template.New("").Parse(conf)).Execute(&b, data); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "conf")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &proxy{process: start(t, argv(dir, path), nil), addr: "unix:" + sock}
	p.version = versionOf(t, p.cmd.Path)
	if !eventually(t, 20*time.Second, "the proxy is not listening", func() bool { return listens(sock) }) {
		t.FailNow()
	}
	return p
}

func versionOf(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.Command(program, "-v").CombinedOutput()
	m := proxyVersion.FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%s -v: %v: %s", program, err, out)
	}
	return strings.TrimSpace(string(m[1]))
}

func listens(sock string) bool {
	c, err := net.Dial("unix", sock)
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
