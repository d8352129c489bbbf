// Package serveropts is what a server hands to grpc.NewServer so that its connections
// can be drained one by one:
//
//	srv := grpc.NewServer(serveropts.Options(bal, creds)...)
//
// It wraps the server's own credentials. Their handshake is the one public place that
// reaches a single connection, for plaintext and TLS alike. Nothing stands in the path of
// an RPC: no interceptor, no stats handler.
//
// The server's other options keep working, in any order. The one exception is a second
// grpc.Creds, see [Options].
package serveropts
