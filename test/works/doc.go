// Package works tries evenkeel beside what servers commonly stand behind or carry:
// listeners that wrap connections (cmux, PROXY protocol, LimitListener, bufconn), options
// of grpc-go and other transport credentials. README.md has the results as a table, and a
// test holds the two equal.
//
// Servers of net/http are not covered: connect-go and gRPC through ServeHTTP handle
// connections that evenkeel never sees. TestServeHTTP shows what happens then.
// xds.NewGRPCServer is not tried, since it needs a control plane.
package works
