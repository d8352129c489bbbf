//go:build interop

package interop

// mib is the size of a large message, a quarter of what gRPC accepts by default.
const mib = 1 << 20

// currentRows are clients and proxies in versions of today. They call half as long as the others, so
// that there can be more of them.
func currentRows() []row {
	rows := []row{
		{name: "Python 1.85 round_robin", argv: venv("client.py"), policy: roundRobin},
		{name: "Python 1.85 aio round_robin", argv: venv("aio_client.py"), policy: roundRobin},
		{name: "Java 1.85 round_robin", argv: java185(), policy: roundRobin},
		{name: "connectrpc", argv: venv("connect_client.py")},
		{
			name: "Envoy", argv: []string{built("golang"), "grpc-go"}, policy: pickFirst,
			proxy: envoy("ROUND_ROBIN", false), onePort: true,
		},
		queued(row{name: "grpc-go", argv: []string{built("golang"), "grpc-go"}}),
		queued(row{name: "grpc-js", argv: []string{"node", built("node", "grpcjs.js")}}),
	}
	for i := range rows {
		rows[i].half = true
	}
	return rows
}

// venv returns the command that runs a program of clients/python with the packages of PyPI.
func venv(program string) []string {
	return []string{built("venv", "bin", "python"), "clients/python/" + program}
}

// java185 returns the command of the client with the jars that Maven has copied.
func java185() []string {
	return []string{"java", "-cp", built("maven", "lib", "*") + ":" + built("maven", "classes"), "Client"}
}

// queued returns r with calls that wait for a stream.
func queued(r row) row {
	r.name += " queued"
	return oneConnection(r, load{workers: 50, maxStreams: 8})
}

// large returns r with large messages.
func large(r row) row {
	r.name += " 1 MiB"
	return oneConnection(r, load{workers: 2, bytes: mib})
}

func oneConnection(r row, l load) row {
	r.single, r.policy, r.load = r.proxy == nil, pickFirst, l
	return r
}
