package serveropts

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Option changes what Options returns.
type Option interface{ apply(*options) }

type options struct {
	creds credentials.TransportCredentials
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// Credentials are the server's own transport credentials (TLS, mTLS, ALTS). They
// do their handshake unchanged, and what they say of the peer reaches the
// handlers unchanged. Default, or nil: plaintext.
func Credentials(c credentials.TransportCredentials) Option {
	return optionFunc(func(o *options) { o.creds = c })
}

// Options returns the options for grpc.NewServer: credentials that track every
// connection for bal, and the keepalive policy of bal's configuration.
//
// The keepalive policy is grpc's keepalive.ServerParameters and
// EnforcementPolicy (gRFC A8, A9) from policy.*: a user's own
// grpc.KeepaliveParams after these options replaces it and works as ever. Only
// the connection age is not handed to grpc: the Balancer applies
// policy.maxConnectionAge itself, since grpc-go's jitter of 10 % lets
// connections that were opened in one moment leave in one.
func Options(bal *rebalance.Balancer, opts ...Option) []grpc.ServerOption {
	var o options
	for _, opt := range opts {
		opt.apply(&o)
	}
	p := bal.Config().Policy
	return []grpc.ServerOption{
		grpc.Creds(TransportCredentials(bal, o.creds)),
		grpc.KeepaliveParams(ServerParameters(p)),
		grpc.KeepaliveEnforcementPolicy(EnforcementPolicy(p)),
	}
}

// TransportCredentials wraps creds so that bal tracks every connection; nil means
// plaintext. Options contains them. They are for a server that sets its
// credentials elsewhere, in which case serveropts.Options must not be the last
// to say grpc.Creds, and for xds.NewGRPCServer.
func TransportCredentials(bal *rebalance.Balancer, creds credentials.TransportCredentials) credentials.TransportCredentials {
	return &tracked{creds: creds, bal: bal}
}

// ServerParameters is the keepalive of p as grpc takes it. Zero values are
// grpc's own defaults: infinity for the idle time, 2 h and 20 s for keepalive.
func ServerParameters(p config.Policy) keepalive.ServerParameters {
	return keepalive.ServerParameters{
		MaxConnectionIdle: p.MaxConnectionIdle,
		Time:              p.KeepaliveTime,
		Timeout:           p.KeepaliveTimeout,
	}
}

// EnforcementPolicy is what p allows clients' own pings.
func EnforcementPolicy(p config.Policy) keepalive.EnforcementPolicy {
	return keepalive.EnforcementPolicy{
		MinTime:             p.MinClientPing,
		PermitWithoutStream: p.PermitWithoutStream,
	}
}
