package serveropts

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Options returns the options for grpc.NewServer. They track every connection for bal and
// apply those keepalive settings of bal's configuration that are set.
//
// creds are the server's own transport credentials (TLS, mTLS, ALTS). Their handshake is
// unchanged, and handlers see the AuthInfo that it returns. A server without TLS requests
// plaintext by name:
//
//	serveropts.Options(bal, insecure.NewCredentials())
//
// Options panics if bal or creds is nil, so that no server becomes plaintext by accident.
//
// The returned options include grpc.Creds, and the last grpc.Creds of a server wins. Options
// overrides one that stands before it. One that stands after it overrides creds, and with
// them the tracking. Connections are then served as usual but never drained, and the
// condition "untracked" reports it after the first call of grpc.health.v1 (health.Register).
// So pass the credentials here and nowhere else.
//
// grpc.KeepaliveParams and grpc.KeepaliveEnforcementPolicy are returned only if one of
// their settings is set (see [ServerParameters] and [EnforcementPolicy]). By default neither
// is, and the server's own stay in force, wherever they stand. One that is returned overrides
// the server's own before it, and yields to one after it.
func Options(bal *rebalance.Balancer, creds credentials.TransportCredentials) []grpc.ServerOption {
	opts := []grpc.ServerOption{grpc.Creds(TransportCredentials(bal, creds))}
	p := bal.Config().Policy
	if params := ServerParameters(p); params != (keepalive.ServerParameters{}) {
		opts = append(opts, grpc.KeepaliveParams(params))
	}
	if enforced := EnforcementPolicy(p); enforced != (keepalive.EnforcementPolicy{}) {
		opts = append(opts, grpc.KeepaliveEnforcementPolicy(enforced))
	}
	return opts
}

// TransportCredentials wraps creds so that bal tracks every connection. [Options] calls it.
// Call it yourself for servers that take their credentials elsewhere, such as
// xds.NewGRPCServer. Credentials that are already wrapped for bal are returned unchanged.
//
// TransportCredentials panics if bal or creds is nil, and if creds are wrapped for another
// Balancer. For plaintext, pass insecure.NewCredentials().
func TransportCredentials(bal *rebalance.Balancer, creds credentials.TransportCredentials) credentials.TransportCredentials {
	switch {
	case bal == nil:
		panic("serveropts: the Balancer is nil")
	case creds == nil:
		panic("serveropts: the credentials are nil: pass the server's own, or insecure.NewCredentials() to serve plaintext")
	}
	if t, ok := creds.(*tracked); ok {
		if t.bal != inside.Of(bal) {
			panic("serveropts: the credentials are wrapped for another Balancer, and a connection has one")
		}
		return t
	}
	return &tracked{creds: creds, bal: inside.Of(bal)}
}

// ServerParameters returns the keepalive settings of p as grpc-go takes them (gRFC A8, A9):
// policy.maxConnectionIdle, keepaliveTime and keepaliveTimeout. For a zero field, grpc-go
// uses its default: no idle limit, 2 h and 20 s.
//
// policy.maxConnectionAge is not among them. The Balancer applies it itself, since with
// grpc-go's jitter of 10 % connections that were opened together would be drained together.
func ServerParameters(p config.Policy) keepalive.ServerParameters {
	return keepalive.ServerParameters{
		MaxConnectionIdle: p.MaxConnectionIdle,
		Time:              p.KeepaliveTime,
		Timeout:           p.KeepaliveTimeout,
	}
}

// EnforcementPolicy returns how often p lets clients send pings (gRFC A8):
// policy.minClientPing and permitWithoutStream. For a zero field, grpc-go uses its default:
// one ping in 5 min, and in 2 h while no stream is open.
func EnforcementPolicy(p config.Policy) keepalive.EnforcementPolicy {
	return keepalive.EnforcementPolicy{
		MinTime:             p.MinClientPing,
		PermitWithoutStream: p.PermitWithoutStream,
	}
}
