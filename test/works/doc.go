// Package works tries evenkeel beside what servers commonly stand behind or carry:
// listeners that wrap connections (cmux, PROXY protocol, LimitListener, bufconn), options
// of grpc-go and other transport credentials. README.md has the results as a table, and a
// test holds the two equal.
//
// gRPC through ServeHTTP is tried with serveropts.HTTPServer and without it. xds.NewGRPCServer is not tried, since it needs a control plane.
package works
