package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/example/fleet"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

const (
	host      = "127.46.0.1"
	firstPort = 24900
)

// way is one way to the server.
type way struct {
	name   string
	addr   string
	proc   *fleet.Proc // what stands before the server; nil for none
	binary string

	latencies []time.Duration
	calls     int
	cpu       time.Duration // of proc, during turns
	base, rss int64         // memory of proc with no connection, in bytes
	perConn   float64
}

// start starts the server and everything that stands before it. end ends it all.
func start(o *options, dir string, programs map[string]string) (ways []*way, end func(), err error) {
	var procs []*fleet.Proc
	end = func() {
		for _, p := range procs {
			p.Kill()
			<-p.Done()
		}
	}
	var taken []int
	port := func() string {
		n, errPort := fleet.FreePort([]string{host}, firstPort, taken...)
		if errPort != nil && err == nil {
			err = errPort
		}
		taken = append(taken, n)
		return net.JoinHostPort(host, strconv.Itoa(n))
	}
	launch := func(argv ...string) *fleet.Proc {
		if err != nil {
			return nil
		}
		var p *fleet.Proc
		if p, err = fleet.Start(argv, nil, nil, func(line string) { fmt.Fprintln(os.Stderr, filepath.Base(argv[0])+":", line) }); err == nil {
			procs = append(procs, p)
		}
		return p
	}
	server := port()
	launch(programs["server"], server, "pod")
	ways = append(ways, &way{name: "direct", addr: server, binary: programs["server"]})
	side := port()
	ways = append(ways, &way{
		name: "evenkeel-sidecar", addr: side, binary: programs["sidecar"],
		proc: launch(programs["sidecar"], "-listen", side, "-http", port(), "-upstream", server, "-log-level", "error"),
	})
	if o.envoy != "" {
		for _, kind := range []string{"http", "tcp"} {
			w := &way{name: envoyNames[kind], addr: port(), binary: o.envoy}
			file := filepath.Join(dir, kind+".yaml")
			if err == nil {
				err = os.WriteFile(file, []byte(envoyConfig(kind, w.addr, server)), 0o600)
			}
			w.proc = launch(o.envoy, "-c", file, "--use-dynamic-base-id", "--log-level", "error", "--concurrency", "2")
			ways = append(ways, w)
		}
	}
	for _, w := range ways {
		if err == nil {
			err = w.await()
		}
	}
	return ways, end, err
}

var envoyNames = map[string]string{"http": "Envoy, HTTP/2", "tcp": "Envoy, TCP only"}

// envoyConfig is the least that a sidecar needs. As an HTTP proxy, Envoy can drain clients with a
// GOAWAY; as a TCP proxy it cannot, and only passes bytes on.
func envoyConfig(kind, listen, upstream string) string {
	filter := `
        - name: envoy.filters.network.tcp_proxy
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
            stat_prefix: in
            cluster: app`
	options := ""
	if kind == "http" {
		filter = `
        - name: envoy.filters.network.http_connection_manager
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: in
            codec_type: HTTP2
            route_config:
              virtual_hosts:
                - name: all
                  domains: ["*"]
                  routes:
                    - match: {prefix: "/"}
                      route: {cluster: app, timeout: 0s}
            http_filters:
              - name: envoy.filters.http.router
                typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}`
		options = `
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}`
	}
	return fmt.Sprintf(`static_resources:
  listeners:
    - address: {socket_address: {address: %s, port_value: %s}}
      filter_chains:
      - filters:%s
  clusters:
    - name: app
      type: STATIC%s
      circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
      load_assignment:
        cluster_name: app
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: %s, port_value: %s}}}
`, hostOf(listen), portOf(listen), filter, options, hostOf(upstream), portOf(upstream))
}

func hostOf(addr string) string { h, _, _ := net.SplitHostPort(addr); return h }
func portOf(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }

// dial returns a channel with a connection of its own.
func (w *way) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+w.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// await waits until a call is answered.
func (w *way) await() error {
	conn, err := w.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		_, err := hellov1.NewHelloServiceClient(conn).Hi(ctx, &hellov1.HiRequest{}, grpc.WaitForReady(true))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not answer: %w", w.name, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
