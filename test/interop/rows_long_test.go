//go:build interop

package interop

import (
	"path/filepath"
	"slices"
	"strings"
)

const (
	// queuedInFlight is how many calls a client with a queue has begun and not ended.
	queuedInFlight = 54
	// queueLost was observed, also with MaxConnectionAge on bare servers.
	queueLost = "Node's HTTP/2 refuses the calls that wait in the client for a stream when it reads a GOAWAY, " +
		"and the library does not retry them"
)

// longRows are clients in Node 26, and more clients under load.
func longRows() []row {
	node26 := node26()
	own := []row{
		{name: "grpc-js Node 26 round_robin", argv: []string{node26, built("node", "grpcjs.js")}, policy: roundRobin},
		{
			name: "connect-node Node 26", argv: []string{node26, built("node", "connectnode.js")},
			failuresPerGoAway: 1, failing: "NGHTTP2_REFUSED_STREAM", why: sameRound,
		},
	}
	return slices.Concat(own, underLoad(
		row{name: "connect-go", argv: []string{built("golang"), "connect-go"}},
		row{
			name: "connect-node", argv: []string{"node", built("node", "connectnode.js")},
			failuresPerGoAway: 3 * queuedInFlight, failing: "NGHTTP2_REFUSED_STREAM", why: queueLost,
		},
		row{
			name: "grpc-js 1.10", argv: []string{"env", "GRPC_JS=grpc-js-1.10", "node", built("node", "grpcjs.js")},
			failuresPerGoAway: queuedInFlight, failing: "14 UNAVAILABLE: Stream refused by server", why: queueLost,
		},
		row{name: "grpc-go 1.50", argv: []string{built("grpcgo-1.50")}},
		row{name: "Python 1.51", argv: []string{"/usr/bin/python3", "clients/python/client.py"}},
		row{name: "Python 1.85", argv: venv("client.py")},
		row{name: "Python 1.85 aio", argv: venv("aio_client.py")},
		row{name: "connectrpc", argv: venv("connect_client.py")},
		// Untuned, Envoy loses calls that begin on a new connection, see README.md.
		row{
			name: "Envoy tuned", argv: []string{built("golang"), "grpc-go"},
			proxy: envoy("ROUND_ROBIN", true), onePort: true,
		},
	))
}

// node26 returns the program of Node 26, for the processor of this machine.
func node26() string {
	found, err := filepath.Glob(built("node26", "node_modules", "node-linux-*", "bin", "node"))
	if err != nil {
		panic(err) // the pattern is wrong
	}
	return strings.Join(found, "") // empty if run.sh has not installed it
}
