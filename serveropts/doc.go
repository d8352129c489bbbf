// Package serveropts makes the options for grpc.NewServer that let a Balancer track every
// connection of the server and drain each one:
//
//	srv := grpc.NewServer(serveropts.Options(bal, creds)...)
//
// It wraps the server's own credentials. Their handshake is the only public hook for a
// single connection, for plaintext and TLS alike. No interceptor and no stats handler
// stands in the path of an RPC.
//
// The server's other options keep working, in any order. The only exception is a second
// grpc.Creds (see [Options]).
package serveropts
