// Package webconn tracks the connections of net/http servers.
//
// A [Server] puts itself between an http.Server and its listeners. It needs four places:
//   - the listener, whose connections it wraps;
//   - ConnContext, by which handlers find their connection;
//   - ConnState, by which HTTP/1.1 requests are counted;
//   - the Handler, which closes drained HTTP/1.1 connections with their next answer.
//
// # Protocols
//
// HTTP/2 is followed on the wire, as for grpc-go, and HTTP/1.1 is not. On a plaintext
// connection the client's first bytes show the protocol. With TLS, ALPN does.
//
// Since Go 1.27 net/http takes any connection with a ConnectionState method for TLS, so it
// gets a wrapped one. Before that it demands a *tls.Conn, and hands one that speaks HTTP/2 to
// a function of TLSNextProto. That function wraps the connection and hands it on to the one
// for unencrypted HTTP/2, as x/net/http2 does.
package webconn
