// Package serveropts is what a server hands to grpc.NewServer so that its
// connections can be moved:
//
//	srv := grpc.NewServer(serveropts.Options(bal, serveropts.Credentials(creds))...)
//
// It stands at the one public place that reaches a single connection for
// plaintext and TLS alike, the handshake of the transport credentials. Nothing
// stands in the path of an RPC: no interceptor, no stats handler.
//
// A user's own options keep working beside it, in any order, with one
// exception: a grpc.Creds that comes after Options replaces its credentials and
// with them the tracking. Pass the credentials through Credentials instead. The
// mistake is noticed with the first call of grpc.health.v1, or when a handler of yours
// calls rebalance.Balancer.Seen (do so once where probes are HTTP), and said loudly: a
// condition, /readyz?verbose and the log.
package serveropts
