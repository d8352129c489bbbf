// Package serveropts is what a server hands to grpc.NewServer.
package serveropts

import (
	"github.com/evenkeel-go/evenkeel/rebalance"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Option of Options.
type Option interface{ apply(*options) }

type options struct{}
type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// Credentials are the user's own transport credentials (TLS, mTLS, ALTS).
func Credentials(c credentials.TransportCredentials) Option { return optionFunc(func(*options) {}) }

// Options returns the options for grpc.NewServer.
func Options(bal *rebalance.Balancer, opts ...Option) []grpc.ServerOption { return nil }
