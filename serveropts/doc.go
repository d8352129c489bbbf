// Package serveropts makes the options for grpc.NewServer that let a Balancer track every
// connection of the server and drain each one:
//
//	srv := grpc.NewServer(serveropts.Options(bal, creds)...)
//
// It wraps the server's own credentials. Their handshake is the only public hook for a
// single connection, for plaintext and TLS alike. No interceptor and no stats handler
// stands in the path of an RPC.
//
// [HTTPServer] does the same for an http.Server, and so for connect-go, grpc-gateway and gRPC
// through ServeHTTP. One Balancer takes servers of both kinds.
//
// The server's other options keep working, in any order. The only exception is a second
// grpc.Creds (see [Options]).
package serveropts
