//go:build interop

package interop

import (
	"slices"
	"strings"
)

const (
	roundRobin = "round_robin"
	pickFirst  = "pick_first"
)

const (
	// h2loadInFlight is the number of calls in flight on each connection of h2load.
	h2loadInFlight = 4
	// rubyChat matches the errors of bidirectional calls of ruby-grpc. Other calls do not fail.
	rubyChat = "^chat: 14:GOAWAY received"
	// cppStream matches the errors of streaming calls of grpc++. Unary calls do not fail.
	cppStream = "^(chat|watch|long watch): .*14 GOAWAY received$"
	// goStream matches the errors of bidirectional calls of Go's net/http. Other calls do not fail.
	goStream = "^chat: unavailable: net/http: cannot rewind body after connection loss$"
	// closedBody was read in Go's source and observed, also with MaxConnectionAge on bare servers.
	closedBody = "net/http closes the body of a call that it could not begin before the GOAWAY, " +
		"and so retries only calls whose body it can read again"
	// sameRound was observed on the wire. The GOAWAY of a bare server's MaxConnectionAge costs
	// more calls, see README.md.
	sameRound = "the client refuses a call that begins on this connection while it handles an answer from another one, " +
		"if it reads the GOAWAY in the same round of its event loop; " +
		"grpc-js retries such a call, connect-node does not"
	// unstarted was observed in the client's trace, also with MaxConnectionAge on bare servers.
	unstarted = "C-core gives up a streaming call if its connection gets the GOAWAY before the call has an id; " +
		"it retries only unary calls"
	// late is the likely reason for failures that occurred once, on an overloaded machine with
	// two cores.
	late = "a client that does not run for 1 s gets the GOAWAY behind data that it has not read yet"
)

// rows are the clients that each run of CI tests.
func rows() []row { return slices.Concat(debianRows(), currentRows()) }

// debianRows are the clients of this module, of npm, and of Debian 12.
func debianRows() []row {
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
		busy(row{name: "grpc-go round_robin", argv: grpcGo, policy: roundRobin}),
		busy(row{name: "grpc-go pick_first", argv: grpcGo, policy: pickFirst, single: true}),
		busy(row{name: "grpc-go round_robin TLS", argv: grpcGo, policy: roundRobin, tls: true}),
		{
			name: "connect-go", argv: connectGo,
			failuresPerGoAway: 0.1, failing: goStream, why: closedBody,
		},
		busy(row{name: "net/http2", argv: netHTTP2}),
		{name: "grpc-js round_robin", argv: grpcJS, policy: roundRobin},
		{name: "grpc-js pick_first", argv: grpcJS, policy: pickFirst, single: true},
		{name: "grpc-js round_robin TLS", argv: grpcJS, policy: roundRobin, tls: true},
		{
			name: "connect-node", argv: connectNode,
			failuresPerGoAway: 1, failing: "NGHTTP2_REFUSED_STREAM", why: sameRound,
		},
		{
			name: "connect-node one server", argv: connectNode, single: true,
			failuresPerGoAway: 1, failing: "NGHTTP2_REFUSED_STREAM", why: late,
		},
		{name: "Python round_robin", argv: python, policy: roundRobin},
		{name: "Python pick_first", argv: python, policy: pickFirst, single: true},
		{
			name: "Ruby round_robin", argv: ruby, policy: roundRobin,
			failuresPerGoAway: 0.1, failing: rubyChat, why: unstarted,
		},
		{
			name: "C++ round_robin", argv: cpp, policy: roundRobin,
			failuresPerGoAway: 0.1, failing: cppStream, why: unstarted,
		},
		{
			name: "C++ pick_first", argv: cpp, policy: pickFirst, single: true,
			failuresPerGoAway: 0.1, failing: cppStream, why: unstarted,
		},
		{name: "Java round_robin", argv: java, policy: roundRobin},
		{name: "Java pick_first", argv: java, policy: pickFirst, single: true},
		{name: "h2load", drive: h2load},
		{name: "nginx", argv: grpcGo, policy: pickFirst, proxy: nginx},
		{name: "haproxy", argv: grpcGo, policy: pickFirst, proxy: haproxy},
	}
}

// busy returns r with more calls. A run makes more than a million calls by rows that need little of
// the processors for each.
func busy(r row) row {
	r.long, r.load = true, load{workers: 14}
	return r
}

// classpath lists the Debian jars that grpc-java's netty transport needs. It does not use all of
// /usr/share/java, since that may contain anything.
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
