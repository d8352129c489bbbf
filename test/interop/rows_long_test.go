//go:build interop

package interop

import (
	"path/filepath"
	"slices"
	"strings"
)

const (
	// inFlight is how many calls a client has in flight.
	inFlight = 12
	// queuedInFlight is how many calls a client with a queue has begun and not ended.
	queuedInFlight = 54
	// queueLost was observed, also with MaxConnectionAge on bare servers.
	queueLost = "Node's HTTP/2 refuses the calls that wait in the client for a stream when it reads a GOAWAY, " +
		"and the library does not retry them"
	// goQueued matches the errors of bidirectional calls of Go's net/http that are above a server's limit.
	goQueued = "^chat: unavailable: .*(REFUSED_STREAM; received from peer|cannot rewind body after connection loss)"
	// tooMany was read in the error, also with MaxConnectionAge on bare servers.
	tooMany = "net/http opens more streams on a new connection than the server allows, " +
		"and retries only calls whose body it can read again"
	// goTwice matches the errors of grpc-go's calls that were retried before.
	goTwice = "^hi: .*desc = (the connection is draining|stream terminated by RST_STREAM with error code: REFUSED_STREAM)$"
	// twice was read in grpc-go 1.50's source (onPrefaceReceipt before handleSettings), and its errors were
	// observed in a soak.
	twice = "grpc-go 1.50 counts a new connection as ready before it applies the server's limit, and may begin calls above it; " +
		"those that a GOAWAY has woken are not retried again"
	// gone was read in the error of hyper, connectrpc's HTTP library.
	gone = "hyper drops a call that it has not sent before the GOAWAY, and connectrpc does not retry it"
	// grpclibClosed matches the errors of grpclib after a GOAWAY.
	grpclibClosed = `StreamTerminatedError\('(Received GOAWAY frame, closing connection|Connection lost)`
	// closes was read in grpclib's source (process_connection_terminated) and observed.
	closes = "grpclib closes its connection as soon as it reads a GOAWAY, whatever the GOAWAY says, and ends all calls on it"
	// cCoreLarge matches the errors of large unary calls in C-core.
	cCoreLarge = `^hi: .*GOAWAY received`
	// committed was read in C-core's trace (retry), also with MaxConnectionAge on bare servers.
	committed = "C-core keeps 256 KiB of a call for retries; it does not retry a larger call that it has not sent yet"
)

// longRows are the rows of nightly.
func longRows() []row {
	return slices.Concat(moreCurrentRows(), oldRows(), togetherRows(), hurriedRows(), queuedRows(), largeRows())
}

// moreCurrentRows are clients of today for which each run of CI has no time.
func moreCurrentRows() []row {
	var (
		grpcGo = []string{built("golang"), "grpc-go"}
		node26 = node26()
		tonic  = []string{built("tonic", "release", "hello-tonic")}
	)
	return []row{
		{name: "Python 1.85 pick_first", argv: venv("client.py"), policy: pickFirst, single: true},
		{name: "Java 1.85 pick_first", argv: java185(), policy: pickFirst, single: true},
		{
			name: "grpclib", argv: venv("grpclib_client.py"), cutsOff: true,
			failuresPerGoAway: inFlight, failing: grpclibClosed, why: closes,
		},
		// tonic dials only while a call waits. A connection that is not ready by then stays silent, one
		// for each server.
		unretried(row{name: "tonic balanced", argv: tonic, policy: roundRobin, silent: 3}),
		unretried(row{name: "tonic one server", argv: tonic, policy: pickFirst, single: true, silent: 1}),
		{name: "Envoy ring hash", argv: grpcGo, policy: pickFirst, proxy: envoy("RING_HASH", false), onePort: true},
		{name: "connect-es in Chromium", argv: []string{"node", "clients/web/chromium.js"}, proxy: envoyWeb, onePort: true},
		{name: "grpc-js Node 26 round_robin", argv: []string{node26, built("node", "grpcjs.js")}, policy: roundRobin},
		{
			name: "connect-node Node 26", argv: []string{node26, built("node", "connectnode.js")},
			failuresPerGoAway: 1, failing: "NGHTTP2_REFUSED_STREAM", why: sameRound,
		},
	}
}

// unretried allows a client of tonic the calls that it gives up.
func unretried(r row) row {
	r.failuresPerGoAway, r.failing = inFlight, "Cancelled .*operation was canceled: connection closed$"
	r.why = "hyper hands back a call that it has not sent before the GOAWAY, and tonic does not retry it"
	return r
}

// oldRows are the oldest versions that many people still run.
func oldRows() []row {
	return []row{
		{name: "grpc-go 1.50 round_robin", argv: []string{built("grpcgo-1.50")}, policy: roundRobin},
		{name: "grpc-go 1.64 round_robin", argv: []string{built("grpcgo-1.64")}, policy: roundRobin},
		{name: "grpc-js 1.10 round_robin", argv: grpcJS110(), policy: roundRobin},
	}
}

func grpcJS110() []string {
	return []string{"env", "GRPC_JS=grpc-js-1.10", "node", built("node", "grpcjs.js")}
}

// queuedRows are clients whose calls wait for a stream.
func queuedRows() []row {
	return []row{
		queued(row{
			name: "connect-go", argv: []string{built("golang"), "connect-go"},
			failuresPerGoAway: 1, failing: goQueued, why: tooMany,
		}),
		queued(row{
			name: "connect-node", argv: []string{"node", built("node", "connectnode.js")},
			failuresPerGoAway: 3 * queuedInFlight, failing: "NGHTTP2_REFUSED_STREAM", why: queueLost,
		}),
		queued(row{
			name: "grpc-js 1.10", argv: grpcJS110(),
			failuresPerGoAway: queuedInFlight, failing: "14 UNAVAILABLE: Stream refused by server", why: queueLost,
		}),
		queued(row{
			name: "grpc-go 1.50", argv: []string{built("grpcgo-1.50")},
			failuresPerGoAway: 1, failing: goTwice, why: twice,
		}),
		queued(row{name: "Python 1.51", argv: []string{"/usr/bin/python3", "clients/python/client.py"}}),
		queued(row{name: "Python 1.85", argv: venv("client.py")}),
		queued(row{name: "Python 1.85 aio", argv: venv("aio_client.py")}),
		queued(row{
			name: "connectrpc", argv: venv("connect_client.py"),
			failuresPerGoAway: 0.1, failing: "dispatch task is gone", why: gone,
		}),
		queued(row{name: "Java 1.85", argv: java185()}),
		queued(row{name: "Ruby", argv: []string{"/usr/bin/ruby", "clients/ruby/client.rb"}, failuresPerGoAway: 0.1, failing: rubyChat, why: unstarted}),
		queued(row{name: "C++", argv: []string{built("cpp", "client")}, failuresPerGoAway: 0.1, failing: cppStream, why: unstarted}),
		// Untuned, Envoy loses calls that begin on a new connection, see docs/clients.md.
		queued(tunedEnvoy()),
	}
}

// largeRows are clients with large messages.
func largeRows() []row {
	const buffer = "HELLO_RETRY_BUFFER=4194304"
	return []row{
		large(row{name: "grpc-go", argv: []string{built("golang"), "grpc-go"}}),
		large(row{name: "grpc-go 1.50", argv: []string{built("grpcgo-1.50")}}),
		large(row{name: "connect-go", argv: []string{built("golang"), "connect-go"}}),
		large(row{name: "grpc-js", argv: []string{"node", built("node", "grpcjs.js")}}),
		large(row{name: "grpc-js 1.10", argv: grpcJS110()}),
		large(row{name: "connect-node", argv: []string{"node", built("node", "connectnode.js")}}),
		large(unbuffered(row{name: "Python 1.51", argv: []string{"/usr/bin/python3", "clients/python/client.py"}})),
		large(unbuffered(row{name: "Python 1.85", argv: venv("client.py")})),
		large(unbuffered(row{name: "Python 1.85 aio", argv: venv("aio_client.py")})),
		large(row{name: "Python 1.85 retry buffer", argv: append([]string{"env", buffer}, venv("client.py")...)}),
		large(unbuffered(row{name: "Ruby", argv: []string{"/usr/bin/ruby", "clients/ruby/client.rb"}})),
		large(unbuffered(row{name: "C++", argv: []string{built("cpp", "client")}})),
		large(row{name: "connectrpc", argv: venv("connect_client.py")}),
		large(row{name: "Java 1.85", argv: java185()}),
		large(tunedEnvoy()),
	}
}

// unbuffered allows a client of C-core the large calls that it cannot retry.
func unbuffered(r row) row {
	r.failuresPerGoAway, r.failing, r.why = 0.5, cCoreLarge, committed
	return r
}

func tunedEnvoy() row {
	return row{
		name: "Envoy tuned", argv: []string{built("golang"), "grpc-go"},
		proxy: envoy("ROUND_ROBIN", true), onePort: true,
	}
}

// node26 returns the program of Node 26, for the processor of this machine.
func node26() string {
	found, err := filepath.Glob(built("node26", "node_modules", "node-linux-*", "bin", "node"))
	if err != nil {
		panic(err) // the pattern is wrong
	}
	return strings.Join(found, "") // empty if run.sh has not installed it
}
