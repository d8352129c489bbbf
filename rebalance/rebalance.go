package rebalance

import (
	"context"
	"log/slog"
	"net"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"google.golang.org/grpc/credentials"
)

// Balancer decides which connections of this server leave, and when.
type Balancer struct{ cfg Config }

// Option of New.
type Option interface{ apply(*options) }

type options struct{}
type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// ConnInfo is what is known of a connection when it is accepted.
type ConnInfo struct {
	// RemoteAddr is the client's address, LocalAddr ours.
	RemoteAddr, LocalAddr net.Addr
	// AuthInfo is what the credentials' handshake found, nil without credentials.
	AuthInfo credentials.AuthInfo
}

// WithPeers sets who is asked for the other pods.
func WithPeers(s Source) Option { return optionFunc(func(*options) {}) }

// WithLogger sets the logger. Default: silent.
func WithLogger(l *slog.Logger) Option { return optionFunc(func(*options) {}) }

// WithSelf names this pod and its own address (an IP) among the peers.
func WithSelf(pod, addr string) Option { return optionFunc(func(*options) {}) }

// WithKey sets what tells one client from another.
func WithKey(f func(ConnInfo) string) Option { return optionFunc(func(*options) {}) }

// New returns a Balancer; nothing runs before Run.
func New(cfg Config, opts ...Option) (*Balancer, error) { return &Balancer{cfg: cfg}, nil }

// Config returns the configuration in force.
func (b *Balancer) Config() Config { return b.cfg }

// Apply puts a changed configuration in force.
func (b *Balancer) Apply(cfg Config) error { return nil }

// Run decides and acts until ctx is done.
func (b *Balancer) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Track wraps the plaintext side of an accepted connection.
func (b *Balancer) Track(nc net.Conn, info ConnInfo) net.Conn { return nc }

// Server is what Shutdown needs of a *grpc.Server.
type Server interface {
	GracefulStop()
	Stop()
}

// Shutdown stops srv without failing an RPC: lame duck, GOAWAYs spread over the time
// there is, GracefulStop, and Stop at the end of shutdown.timeout.
func (b *Balancer) Shutdown(ctx context.Context, srv Server) error { return nil }

// Status is one look at everything.
func (b *Balancer) Status() Status { return Status{} }

// Report answers a peer that asks GET /peerz.
func (b *Balancer) Report(hashedKeys []string) peerz.Report { return peerz.Report{} }

// Ready is false once Shutdown has begun. ReadyChanged is closed then.
func (b *Balancer) Ready() bool { return true }

// Stopping returns a channel that is closed when Shutdown begins.
func (b *Balancer) Stopping() <-chan struct{} { return nil }

// SetHealthPort tells the port of the health endpoint, on which peers answer
// too unless peers.port is set.
func (b *Balancer) SetHealthPort(port int) {}

// Seen notes that an RPC with this context was served. If its connection is not
// tracked, the Balancer says so: log, condition. It reports whether it is.
func (b *Balancer) Seen(ctx context.Context) bool { return true }

// LeaveAll asks every connection to leave (reason "manual"), spread over the
// given time, and returns how many were asked.
func (b *Balancer) LeaveAll(ctx context.Context) int { return 0 }

// SetCondition shows (text not empty) or clears a condition of the caller's, such as a
// configuration file that cannot be read.
func (b *Balancer) SetCondition(code string, sev Severity, text string) {}
