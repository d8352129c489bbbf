//go:build interop

package interop

import "strings"

const (
	roundRobin = "round_robin"
	pickFirst  = "pick_first"
)

const (
	// h2loadInFlight is how many calls it has on one connection.
	h2loadInFlight = 4
	// rubyChat is what a bidirectional call of ruby-grpc fails with, never another one.
	rubyChat = "^chat: 14:GOAWAY received"
	// cppStream is what a streaming call of grpc++ fails with, never a unary one.
	cppStream = "^(chat|watch|long watch): .*14 GOAWAY received$"
	// otherAnswer was seen on the wire. The GOAWAY of a bare server's
	// MaxConnectionAge costs more, see README.md.
	otherAnswer = "a call that is begun on this connection while an answer from another one is handled is refused, " +
		"by the client itself, if the GOAWAY is read in the same round of the event loop; " +
		"grpc-js tries such a call again, connect-node does not"
	// unstarted was seen in the client's own trace, and with MaxConnectionAge on bare servers.
	unstarted = "a streaming call whose connection gets the GOAWAY before the call has an id is given up by C-core " +
		"without the second try that it gives to unary calls"
	// late is the likely reason for what was seen once, on a machine with far more
	// to do than two cores can.
	late = "a client that is not run for 100 ms gets the GOAWAY behind what it has not read yet"
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
			perGoAway: 1, failing: "NGHTTP2_REFUSED_STREAM", why: otherAnswer,
		},
		{
			name: "connect-node one server", argv: connectNode, single: true,
			perGoAway: 1, failing: "NGHTTP2_REFUSED_STREAM", why: late,
		},
		{name: "Python round_robin", argv: python, policy: roundRobin},
		{name: "Python pick_first", argv: python, policy: pickFirst, single: true},
		{
			name: "Ruby round_robin", argv: ruby, policy: roundRobin,
			perGoAway: 0.1, failing: rubyChat, why: unstarted,
		},
		{
			name: "C++ round_robin", argv: cpp, policy: roundRobin,
			perGoAway: 0.1, failing: cppStream, why: unstarted,
		},
		{
			name: "C++ pick_first", argv: cpp, policy: pickFirst, single: true,
			perGoAway: 0.1, failing: cppStream, why: unstarted,
		},
		{name: "Java round_robin", argv: java, policy: roundRobin},
		{name: "Java pick_first", argv: java, policy: pickFirst, single: true},
		{name: "h2load", drive: h2load},
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
