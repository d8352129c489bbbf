//go:build linux && e2e

package e2e

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

// The clients of a gateway: pods with several connections of HTTP/1.1, and pods with one of
// HTTP/2.
const (
	http1Pods, http1Conns = 3, 6
	http2Pods             = 8
	webConns              = http1Pods*http1Conns + http2Pods
	// perConn is the number of calls a second on each connection.
	perConn = 3
)

// webRest is how long the first two pods serve before others come. Within a minute, evenness
// takes both for one burst and waits longer.
const webRest = time.Minute

// webGrown bounds the time until the gateways are even: the slowest of 60 runs in virtual time took
// 25 s, and a client of HTTP/2 that came back by chance rests for 30 s. On a busy machine one of the
// first two pods comes before the other, and evenness waits a minute for that growth. webShrunk is longer: pods that
// leave so soon look like a rollout, which evenness waits out for a minute, if chance has left the
// other two uneven.
const (
	webGrown  = 75*time.Second + time.Minute
	webShrunk = 2 * time.Minute
)

// HTTP clients of grpc-gateway follow 2 to 5 pods and back, and no call fails. The same load on
// servers without evenkeel stays where it is.
func TestGatewayClients(t *testing.T) {
	t.Parallel()
	c := cluster.Shared(t, cluster.Options{})
	tracked := install(t, c, 0, "gateway.enabled=true")
	bare := install(t, c, 0, "gateway.enabled=true", "extraArgs={-bare}")
	tracked.gated(t, 2) // both at once: if one came first, the other would be a growth, with rounds of its own
	bare.gated(t, 2)
	begun := time.Now()
	clients, bareClients := tracked.webClients(t), bare.webClients(t)
	time.Sleep(time.Until(begun.Add(webRest))) // this time is under test
	before := tracked.moves(t)

	bare.gated(t, 5)
	tracked.gated(t, 5)
	took := tracked.evenAfter(t, 5, webGrown)
	drained := tracked.moves(t) - before
	t.Logf("5 pods: even after %.1f s, %d drains, %.2f per connection", took.Seconds(), drained, float64(drained)/webConns)
	if drained == 0 || drained > 2*webConns {
		t.Errorf("%d of %d connections were drained", drained, webConns)
	}
	if loads := bare.webLoads(t.Context(), t); evenWeb(loads) {
		t.Errorf("the bare servers have %v connections: their clients must not follow by themselves", loads)
	}

	for _, r := range []*release{bare, tracked} {
		c.Kubectl(t, "-n", r.ns, "scale", "deploy/hello", "--replicas=2")
	}
	t.Logf("2 pods: even after %.1f s", tracked.evenAfter(t, 2, webShrunk).Seconds())
	clients.report(t, "evenkeel")
	bareClients.report(t, "bare")
	for _, l := range clients {
		noFailures(t, l)
	}
}

// webLoad is the clients of one release by their name.
type webLoad map[string]*cluster.Loader

// webClients starts HTTP/1.1 through the Service, and HTTP/2 through the headless one, whose name is
// resolved for each new connection.
func (r *release) webClients(t *testing.T) webLoad {
	t.Helper()
	port := "." + r.ns + ".svc.cluster.local.:8081"
	return webLoad{
		"HTTP/1.1, ClusterIP": r.c.Load(t, r.ns, cluster.Load{
			Name: "http1-", Target: "hello" + port, HTTP: 1, Pods: http1Pods, Channels: http1Conns, Rate: http1Conns * perConn,
		}),
		"HTTP/2, headless": r.c.Load(t, r.ns, cluster.Load{
			Name: "http2-", Target: "hello-headless" + port, HTTP: 2, Pods: http2Pods, Channels: 1, Rate: perConn,
		}),
	}
}

// report logs what the clients have seen.
func (l webLoad) report(t *testing.T, servers string) {
	t.Helper()
	for name, loader := range l {
		reports, calls, opened := loader.Reports(t), 0, 0
		for i := range reports {
			opened += reports[i].Opened
			for _, n := range reports[i].Calls {
				calls += n
			}
		}
		failed, texts := cluster.Failures(reports)
		t.Logf("%s, %s: %d calls, %d failed %v, %d connections opened", servers, name, calls, failed, texts, opened)
	}
}

// moves returns the number of connections that the pods have drained to rebalance.
func (r *release) moves(t *testing.T) (n int) {
	t.Helper()
	for _, s := range r.status(t.Context(), t) {
		n += s.Sent("reach", "even")
	}
	return n
}

// webLoads returns the connections of each pod that are not draining. Those of probes are no load.
func (r *release) webLoads(ctx context.Context, t *testing.T) (loads []float64) {
	t.Helper()
	for _, s := range r.status(ctx, t) {
		loads = append(loads, s.Load)
	}
	return loads
}

// evenAfter waits until the connections are even over so many pods, and returns how long it took.
func (r *release) evenAfter(t *testing.T, pods int, limit time.Duration) time.Duration {
	t.Helper()
	begun := time.Now()
	r.c.Eventually(t, fmt.Sprintf("the connections are even over %d pods", pods), limit, func(ctx context.Context) (bool, error) {
		loads := r.webLoads(ctx, t)
		return len(loads) == pods && evenWeb(loads), fmt.Errorf("the pods have %v connections", loads)
	})
	return time.Since(begun)
}

// evenWeb reports whether all connections are there, and each pod is inside the band.
func evenWeb(loads []float64) bool {
	sum := 0.
	for _, n := range loads {
		sum += n
	}
	mean := sum / float64(len(loads))
	over := max(math.Ceil(1.1*mean), math.Floor(mean)+1)
	return sum == webConns && slices.Max(loads) <= over && slices.Min(loads) >= min(0.7*mean, over-2)
}
