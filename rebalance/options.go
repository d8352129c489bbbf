package rebalance

import (
	"cmp"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/evenkeel-go/evenkeel/peers"
	"google.golang.org/grpc/credentials"
)

// Option changes what New makes.
type Option interface{ apply(*options) }

type options struct {
	source peers.Source
	log    *slog.Logger
	pod    string
	addr   string
	key    func(ConnInfo) string
	weigh  func(ConnStats) float64
	shed   func() string
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// ConnInfo is what is known of a connection when it is accepted.
type ConnInfo struct {
	// RemoteAddr is the client's address, LocalAddr the server's. A listener of the
	// user's own may return nil for either.
	RemoteAddr, LocalAddr net.Addr
	// AuthInfo is what the credentials' handshake found, nil without credentials.
	AuthInfo credentials.AuthInfo
}

// WithPeers sets who tells of the other pods: a source of peers/dns, kube or static,
// made as cfg.Peers says, or one of your own. Without it, whatever cfg.Peers.Source is, nothing
// is moved between pods; the backstop age works all the same.
func WithPeers(s peers.Source) Option { return optionFunc(func(o *options) { o.source = s }) }

// WithLogger sets where decisions are logged. Default: nowhere.
func WithLogger(l *slog.Logger) Option { return optionFunc(func(o *options) { o.log = l }) }

// WithSelf names this pod and its own IP address, by which it finds itself among
// the peers. Defaults: $POD_NAME, else the host's name; $POD_IP.
func WithSelf(pod, addr string) Option {
	return optionFunc(func(o *options) { o.pod, o.addr = pod, addr })
}

// WithKey sets what tells one client from another; connections with the same key
// are taken for those of one client. f is called once for each connection,
// when it has been accepted, and must not block. Default: the remote IP
// address. For a key that stands in a header of an RPC see SetKey.
func WithKey(f func(ConnInfo) string) Option { return optionFunc(func(o *options) { o.key = f }) }

// ConnStats is what is known of a connection's load.
type ConnStats struct {
	// Key names the client.
	Key string
	// Age is how long ago it was accepted.
	Age time.Duration
	// Streams is the number in flight, StreamsOpened those ever opened.
	Streams       int
	StreamsOpened uint64
	// RequestRate is how many streams it opens per second, over about the last 30 s;
	// MeanStreams how many are in flight, over about the last 10 s.
	RequestRate, MeanStreams float64
}

// WithWeight sets how much load one connection carries, in whatever unit, the same on
// all pods; it takes the place of rebalance.weight. f is called for each connection
// once a second, from one goroutine, and must not block. What is negative, infinite or
// not a number counts as 0. Change it slowly: a weight that jumps moves
// connections. Default: as rebalance.weight says.
func WithWeight(f func(ConnStats) float64) Option {
	return optionFunc(func(o *options) { o.weigh = f })
}

// WithOverload sets a signal by which this pod may shed more than its fair share: while f
// returns a reason ("memory 95 %") and other pods do not say the same of themselves, a
// twentieth of the load is asked to leave every few seconds, down to rebalance.floor of
// the mean. No connection is ever rejected. f is called about once a second and must
// not block; it should keep to what it said for a while (hysteresis). Default: none but
// rebalance.maxStreams.
func WithOverload(f func() (why string)) Option { return optionFunc(func(o *options) { o.shed = f }) }

func newOptions(opts []Option) options {
	o := options{log: slog.New(slog.DiscardHandler), key: remoteIP}
	for _, opt := range opts {
		opt.apply(&o)
	}
	host, _ := os.Hostname()
	o.pod = cmp.Or(o.pod, os.Getenv("POD_NAME"), host, "unnamed")
	o.addr = cmp.Or(o.addr, os.Getenv("POD_IP"))
	return o
}

// remoteIP is the key by default: the remote IP address, or whatever else the remote
// address is.
func remoteIP(i ConnInfo) string {
	if i.RemoteAddr == nil {
		return "unknown"
	}
	if a, ok := i.RemoteAddr.(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().String()
	}
	s := i.RemoteAddr.String()
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().String()
	}
	return s
}
