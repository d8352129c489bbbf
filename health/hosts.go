package health

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// privateSuffixes end names that nobody outside can point at an address of their choice.
var privateSuffixes = []string{".localhost", ".local", ".internal", ".svc", ".test", ".home.arpa"}

// knownHost refuses requests under a name that anybody may own. By DNS rebinding, a web page
// could point a name of its own at this pod, and then read in a browser inside the cluster what
// the browser can reach. The kubelet and the peers come by address.
func (o *options) knownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !o.allows(r.Host) {
			http.Error(w, "this endpoint does not answer under the host name of this request, which may be one of an attacker (DNS rebinding): "+
				"use the pod's address, or pass the name to health.WithHosts", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allows reports whether a Host header is an address, a name that is not public, or a name of
// WithHosts.
func (o *options) allows(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if _, err := netip.ParseAddr(name); err == nil || !strings.Contains(name, ".") {
		return true
	}
	private := func(suffix string) bool { return strings.HasSuffix(name, suffix) }
	return slices.ContainsFunc(privateSuffixes, private) || slices.Contains(o.hosts, name) || slices.Contains(o.hosts, "*")
}
