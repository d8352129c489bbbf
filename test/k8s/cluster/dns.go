//go:build linux

package cluster

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

//go:embed config/coredns.yaml
var corednsManifest string

// Corefiles for CoreDNS. None forwards other names, because nothing outside of the cluster
// can be reached.
const (
	// CorefileKubeadm is what kubeadm installs today. Answers have a TTL of 30 s, and those
	// for cluster.local are not cached.
	CorefileKubeadm = corefileTTL + "30" + corefileCache + `
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }` + corefileEnd
	// CorefileCached also caches cluster.local for 30 s, like older Corefiles and NodeLocal
	// DNSCache.
	CorefileCached = corefileTTL + "30" + corefileCache + `
    cache 30` + corefileEnd
	// CorefileShort has the kubernetes plugin's own TTL of 5 s and no cache.
	CorefileShort = corefileTTL + "5" + corefileCache + corefileEnd
)

// The parts that all Corefiles have in common: up to the TTL, from there to the cache, and
// after the cache.
const (
	corefileTTL = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl `
	corefileCache = `
    }
    prometheus :9153`
	corefileEnd = `
    loop
    reload
    loadbalance
}
`
)

// SetCorefile applies another Corefile, and returns when all pods of CoreDNS use it.
func (c *Cluster) SetCorefile(t testing.TB, corefile string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.applyDNS(ctx, corefile); err != nil {
		t.Fatal(err)
	}
	if err := c.waitDNS(ctx); err != nil {
		t.Fatal(err)
	}
}

// applyDNS creates a ConfigMap per Corefile, so that a new one replaces the pods.
func (c *Cluster) applyDNS(ctx context.Context, corefile string) error {
	sum := sha256.Sum256([]byte(corefile))
	manifest := strings.NewReplacer(
		"@COREFILE@", strings.ReplaceAll(strings.TrimSpace(corefile), "\n", "\n    "),
		"@CONFIG@", "coredns-"+hex.EncodeToString(sum[:4]),
		"@IMAGE@", corednsTag, "@DNS@", dnsService,
	).Replace(corednsManifest)
	_, err := c.apply(ctx, "kube-system", manifest)
	return err
}

// waitDNS waits until CoreDNS' pods are ready and kube-proxy sends queries to them.
func (c *Cluster) waitDNS(ctx context.Context) error {
	if out, err := c.TryKubectl(ctx, "-n", "kube-system", "rollout", "status", "deploy/coredns"); err != nil {
		return fmt.Errorf("CoreDNS: %w: %s", err, out)
	}
	return poll(ctx, "DNS", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		addresses, err := c.Lookup(ctx, "kubernetes.default.svc.cluster.local.")
		return len(addresses) == 1, err
	})
}
