//go:build interop

package interop

import "strings"

const (
	roundRobin = "round_robin"
	pickFirst  = "pick_first"
)

const (
	// callsInFlight is how many calls a client has in flight at most, its long
	// stream aside.
	callsInFlight = 11
	// h2loadInFlight is how many it has on one connection.
	h2loadInFlight = 4
	// noRetry was seen on the wire, and it is the same with the GOAWAY of a bare
	// server's MaxConnectionAge.
	noRetry = "nghttp2 tells of the end of a call while it still parses what it has read. A call that is begun " +
		"there is refused, by the client itself, if a GOAWAY stands behind that end in what was read; " +
		"grpc-js tries such a call again, connect-node and h2load do not"
)

// rows is the table: who calls, and what may fail.
func rows() []row {
	var (
		grpcGo      = []string{built("golang"), "grpc-go"}
		connectGo   = []string{built("golang"), "connect-go"}
		netHTTP2    = []string{built("golang"), "net/http2"}
		grpcJS      = []string{"node", built("node", "grpcjs.js")}
		connectNode = []string{"node", built("node", "connectnode.js")}
		python      = []string{"/usr/bin/python3", "clients/python/client.py"}
		ruby        = []string{"/usr/bin/ruby", "clients/ruby/client.rb"}
		cpp         = []string{built("cpp", "client")}
		java        = []string{"java", "-cp", classpath(), "Client"}
	)
	return []row{
		{name: "grpc-go round_robin", argv: grpcGo, policy: roundRobin},
		{name: "grpc-go pick_first", argv: grpcGo, policy: pickFirst, single: true},
		{name: "grpc-go round_robin TLS", argv: grpcGo, policy: roundRobin, tls: true},
		{name: "connect-go", argv: connectGo},
		{name: "net/http2", argv: netHTTP2},
		{name: "grpc-js round_robin", argv: grpcJS, policy: roundRobin},
		{name: "grpc-js pick_first", argv: grpcJS, policy: pickFirst, single: true},
		{name: "grpc-js round_robin TLS", argv: grpcJS, policy: roundRobin, tls: true},
		{
			name: "connect-node", argv: connectNode,
			perGoAway: callsInFlight, failing: "NGHTTP2_REFUSED_STREAM", why: noRetry,
		},
		{
			name: "connect-node one server", argv: connectNode, single: true,
			perGoAway: callsInFlight, failing: "NGHTTP2_REFUSED_STREAM", why: noRetry,
		},
		{name: "Python round_robin", argv: python, policy: roundRobin},
		{name: "Python pick_first", argv: python, policy: pickFirst, single: true},
		{name: "Ruby round_robin", argv: ruby, policy: roundRobin},
		{name: "C++ round_robin", argv: cpp, policy: roundRobin},
		{name: "C++ pick_first", argv: cpp, policy: pickFirst, single: true},
		{name: "Java round_robin", argv: java, policy: roundRobin},
		{name: "Java pick_first", argv: java, policy: pickFirst, single: true},
		{
			name: "h2load", drive: h2load,
			perGoAway: h2loadInFlight, failing: "errored", why: noRetry,
		},
		{name: "nginx", argv: grpcGo, policy: pickFirst, proxy: nginx},
		{name: "haproxy", argv: grpcGo, policy: pickFirst, proxy: haproxy},
	}
}

// classpath is what grpc-java's netty transport needs of Debian's jars. Not all
// of /usr/share/java: there may be anything in it.
func classpath() string {
	paths := []string{built("java", "classes")}
	for _, jar := range []string{
		"grpc-api", "grpc-context", "grpc-core", "grpc-netty", "grpc-protobuf", "grpc-protobuf-lite", "grpc-stub",
		"guava", "perfmark-api", "protobuf",
		"netty-buffer", "netty-codec", "netty-codec-http", "netty-codec-http2", "netty-codec-socks", "netty-common",
		"netty-handler", "netty-handler-proxy", "netty-resolver", "netty-transport",
		"netty-transport-native-epoll", "netty-transport-native-unix-common",
	} {
		paths = append(paths, "/usr/share/java/"+jar+".jar")
	}
	return strings.Join(paths, ":")
}
