//go:build interop

package interop

// mib is the size of a large message, a quarter of what gRPC accepts by default.
const mib = 1 << 20

const (
	// grpclibClosed matches the errors of grpclib after a GOAWAY.
	grpclibClosed = `StreamTerminatedError\('(Received GOAWAY frame, closing connection|Connection lost)`
	// closes was read in grpclib's source (process_connection_terminated) and observed.
	closes = "grpclib closes its connection as soon as it reads a GOAWAY, whatever the GOAWAY says, and ends all calls on it"
)

// currentRows are clients and proxies in versions of today.
func currentRows() []row {
	grpcGo := []string{built("golang"), "grpc-go"}
	return []row{
		{name: "Python 1.85 round_robin", argv: venv("client.py"), policy: roundRobin},
		{name: "Python 1.85 pick_first", argv: venv("client.py"), policy: pickFirst, single: true},
		{name: "Python 1.85 aio round_robin", argv: venv("aio_client.py"), policy: roundRobin},
		{
			name: "grpclib", argv: venv("grpclib_client.py"), cutsOff: true,
			failuresPerGoAway: inFlight, failing: grpclibClosed, why: closes,
		},
		{name: "connectrpc", argv: venv("connect_client.py")},
		{name: "Envoy", argv: grpcGo, policy: pickFirst, proxy: envoy("ROUND_ROBIN", false), onePort: true},
		{name: "Envoy ring hash", argv: grpcGo, policy: pickFirst, proxy: envoy("RING_HASH", false), onePort: true},
	}
}

// inFlight is how many calls a client has in flight.
const inFlight = 12

// oldRows are the oldest versions that many people still run.
func oldRows() []row {
	grpcJS := []string{"env", "GRPC_JS=grpc-js-1.10", "node", built("node", "grpcjs.js")}
	return []row{
		{name: "grpc-go 1.50 round_robin", argv: []string{built("grpcgo-1.50")}, policy: roundRobin},
		{name: "grpc-go 1.64 round_robin", argv: []string{built("grpcgo-1.64")}, policy: roundRobin},
		{name: "grpc-js 1.10 round_robin", argv: grpcJS, policy: roundRobin},
	}
}

// venv returns the command that runs a program of clients/python with the packages of PyPI.
func venv(program string) []string {
	return []string{built("venv", "bin", "python"), "clients/python/" + program}
}

// underLoad returns two rows for each one: calls wait for a stream, and messages are large. Only
// calls that wait may fail as the row allows.
func underLoad(rows ...row) []row {
	var out []row
	for _, r := range rows {
		r.single, r.policy = r.proxy == nil, pickFirst
		queued, large := r, r
		queued.name, queued.load = r.name+" queued", load{workers: 50, maxStreams: 8}
		large.name, large.load = r.name+" 1 MiB", load{workers: 2, bytes: mib}
		large.failuresPerGoAway = 0
		out = append(out, queued, large)
	}
	return out
}
