package lookup

import (
	"os"
	"strings"
)

// SystemResolvConf is the resolver's file of the system.
const SystemResolvConf = "/etc/resolv.conf"

// Complete returns the complete form, with a dot at its end, of the name of a Kubernetes
// Service: NAME.NAMESPACE.svc, or that with the domain of the cluster. A pod's search list has
// the domain as svc.DOMAIN. With ndots:5, as in pods, a resolver would otherwise try each entry
// of the list first, for both families. Any other name stays as it is.
func Complete(name, resolvConf string) string {
	text, _ := os.ReadFile(resolvConf) //nolint:gosec // a file of the system
	return complete(name, string(text))
}

func complete(name, resolvConf string) string {
	domain := clusterDomain(resolvConf)
	lower := strings.ToLower(name)
	switch {
	case domain == "":
	case strings.HasSuffix(lower, ".svc"):
		return name + "." + domain + "."
	case strings.HasSuffix(lower, ".svc."+strings.ToLower(domain)):
		return name + "."
	}
	return name
}

// clusterDomain returns the domain of the cluster by the search list, empty if it is not there.
func clusterDomain(resolvConf string) string {
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "search" {
			continue
		}
		for _, f := range fields[1:] {
			if domain, ok := strings.CutPrefix(f, "svc."); ok {
				return strings.TrimSuffix(domain, ".")
			}
		}
	}
	return ""
}
