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
// unchanged, and handlers see the AuthInfo that it returns. A server without TLS asks for
// plaintext by name:
//
//	serveropts.Options(bal, insecure.NewCredentials())
//
// Options panics if bal or creds is nil: a server must not become plaintext by accident.
//
// grpc.Creds is among the returned options, and the last grpc.Creds of a server wins. One
// that stands before Options is replaced by creds; one that stands after Options replaces
// creds, and with them the tracking: its connections are served as usual and never drained.
// The condition "untracked" says so once somebody calls grpc.health.v1 (health.Register). So pass the credentials here and to nobody else.
//
// grpc.KeepaliveParams and grpc.KeepaliveEnforcementPolicy are returned only if one of
// their settings is set (see [ServerParameters] and [EnforcementPolicy]); by default
// the server's own stay in force, before or after Options.
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

// TransportCredentials wraps creds so that bal tracks every connection. [Options] does so;
// call it for servers that take their credentials elsewhere, such as xds.NewGRPCServer.
// Wrapping what is already wrapped for bal returns it as it is.
//
// TransportCredentials panics if bal or creds is nil (insecure.NewCredentials() is plaintext), and
// if creds are wrapped for another Balancer.
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
// policy.maxConnectionIdle, keepaliveTime and keepaliveTimeout. Zero fields are grpc-go's
// defaults: no idle limit, 2 h and 20 s. policy.maxConnectionAge is not among them: the
// Balancer applies it, since grpc-go's jitter of 10 % lets connections that were opened
// together leave together.
func ServerParameters(p config.Policy) keepalive.ServerParameters {
	return keepalive.ServerParameters{
		MaxConnectionIdle: p.MaxConnectionIdle,
		Time:              p.KeepaliveTime,
		Timeout:           p.KeepaliveTimeout,
	}
}

// EnforcementPolicy returns how often p lets clients send pings (gRFC A8):
// policy.minClientPing and permitWithoutStream. Zero fields are grpc-go's defaults: 5 min,
// and only while a stream is open.
func EnforcementPolicy(p config.Policy) keepalive.EnforcementPolicy {
	return keepalive.EnforcementPolicy{
		MinTime:             p.MinClientPing,
		PermitWithoutStream: p.PermitWithoutStream,
	}
}
