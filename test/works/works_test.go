package works

import (
	"context"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// setup is one way to serve and one row of README's table.
type setup struct {
	// name is that of the subtest.
	name string
	// what and result are the cells of the row.
	what, result string
	// serve starts what is tried.
	serve func(t *testing.T, bal *rebalance.Balancer) *place
	// keys are those by which the clients must be known, sorted.
	keys []string
	// auth is the AuthType that handlers must see.
	auth string
	// full means that the listener accepts no connection while the drained ones are open.
	full bool
}

const loopback = "127.0.0.1"

var setups = []setup{
	{
		name: "bufconn", what: "bufconn", result: "works; its clients share one address, so they count as one",
		serve: onBufconn, keys: []string{"bufconn"}, auth: "insecure",
	},
	{
		name: "cmux-preface", what: "cmux, matching on the HTTP/2 preface", result: "works, with HTTP/1.1 on the same port",
		serve: behindCmux(byPreface), keys: []string{loopback}, auth: "insecure",
	},
	{
		name: "cmux-header", what: "cmux, matching on `content-type`", result: "works, with HTTP/1.1 on the same port",
		serve: behindCmux(byHeader), keys: []string{loopback}, auth: "insecure",
	},
	{
		name: "proxy-protocol", what: "PROXY protocol (go-proxyproto), v1 and v2", result: "works; clients are told apart by the address in the header",
		serve: behindProxy, keys: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, auth: "insecure",
	},
	{
		name: "limit-spare", what: "`netutil.LimitListener`, below its limit", result: "works",
		serve: limitedTo(2 * clients), keys: []string{loopback}, auth: "insecure",
	},
	{
		name: "limit-reached", what: "`netutil.LimitListener` at its limit", result: "works, but a client that comes back waits until a drained connection has closed",
		serve: limitedTo(clients), keys: []string{loopback}, auth: "insecure", full: true,
	},
	{
		name: "otelgrpc", what: "otelgrpc's stats handlers", result: "works",
		serve: withOtel, keys: []string{loopback}, auth: "insecure",
	},
	{
		name: "stream-workers", what: "`grpc.NumStreamWorkers`", result: "works",
		serve: withStreamWorkers, keys: []string{loopback}, auth: "insecure",
	},
	{
		name: "local-tcp", what: "local credentials over TCP", result: "works",
		serve: withLocalTCP, keys: []string{loopback}, auth: "local",
	},
	{
		name: "local-unix", what: "local credentials over a Unix socket", result: "works; its clients share one address, so they count as one",
		serve: withLocalUnix, keys: []string{"@"}, auth: "local",
	},
	{
		name: "two-servers", what: "two servers with one Balancer", result: "works; `DrainAll` and `Shutdown` take both",
		serve: twoServers, keys: []string{loopback}, auth: "insecure",
	},
	{
		name: "serve-http-h2c", what: "`ServeHTTP` behind `serveropts.HTTPServer`, h2c", result: "works; pass the web server to `Shutdown`, not the gRPC server",
		serve: byServeHTTP(startH2C), keys: []string{loopback},
	},
	{
		name: "serve-http-tls", what: "`ServeHTTP` behind `serveropts.HTTPServer`, TLS", result: "works in the same way",
		serve: byServeHTTP(startTLS), keys: []string{loopback}, auth: "tls",
	},
}

// Each client calls and streams while every connection is drained once. No call fails, each
// client comes back, and Shutdown leaves nothing open.
func TestWorks(t *testing.T) {
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bal, keys := balancer(t)
			p := s.serve(t, bal)
			all := connect(t, p)
			tracked(t, bal, len(all))
			keys.want(t, s.keys)

			load := startCalls(t, all, s.auth)
			drainUnderLoad(t, bal, all, s.full)
			if p.beside != nil {
				p.beside(t)
			}
			load.stop(t)
			shutDown(t, bal, p)
			if p.after != nil {
				p.after(t)
			}
		})
	}
}

// tracked checks that each client's connection was counted and nothing is amiss.
func tracked(t *testing.T, bal *rebalance.Balancer, n int) {
	t.Helper()
	s := bal.Status()
	if s.Tracked != uint64(n) || s.Connections != n {
		t.Fatalf("got %d connections, %d tracked, want %d", s.Connections, s.Tracked, n)
	}
	if s.Untracked != 0 || len(s.Conditions) != 0 {
		t.Fatalf("got %d untracked RPCs and conditions %+v, want none", s.Untracked, s.Conditions)
	}
}

// drainUnderLoad drains every connection while each carries a stream, then ends the streams.
func drainUnderLoad(t *testing.T, bal *rebalance.Balancer, all []*client, full bool) {
	t.Helper()
	n := len(all)
	for _, c := range all {
		c.open(t)
	}
	if got := bal.DrainAll(t.Context()); got != n {
		t.Errorf("DrainAll drained %d connections, want %d", got, n)
	}
	eventually(t, bal, "every connection gets a GOAWAY", func(s *rebalance.Status) bool {
		return s.GoAways["manual"] == uint64(n) && s.Draining == n
	})
	if full {
		time.Sleep(200 * time.Millisecond) // enough for a client to come back, if it could
		if s := bal.Status(); s.Connections != n {
			t.Errorf("got %d connections, want no more than the %d draining ones at the limit", s.Connections, n)
		}
	} else {
		eventually(t, bal, "each client comes back while its stream goes on", func(s *rebalance.Status) bool {
			return s.Tracked == uint64(2*n) && s.Connections == 2*n
		})
	}
	for _, c := range all {
		c.exchange(t)
		c.end(t)
	}
	eventually(t, bal, "drained connections close, the others stay", func(s *rebalance.Status) bool {
		return s.Connections == n && s.Draining == 0
	})
	s := bal.Status()
	if gone := s.Closed["clean"] + s.Closed["client"]; s.Tracked != uint64(2*n) || gone != uint64(n) {
		t.Errorf("got %d connections opened and %v closed, want %d opened and %d closed cleanly", s.Tracked, s.Closed, 2*n, n)
	}
	if s.GoAways["manual"] != uint64(n) || len(s.Conditions) != 0 {
		t.Errorf("got GOAWAYs %v and conditions %+v, want %d manual ones and no condition", s.GoAways, s.Conditions, n)
	}
}

// shutDown stops the servers while the clients are idle.
func shutDown(t *testing.T, bal *rebalance.Balancer, p *place) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := bal.Shutdown(ctx, p.servers...); err != nil {
		t.Errorf("Shutdown returned %v", err)
	}
	if s := bal.Status(); s.Connections != 0 || s.Closed["forced"] != 0 {
		t.Errorf("got %d connections left and %v closed, want none left and none forced", s.Connections, s.Closed)
	}
}
