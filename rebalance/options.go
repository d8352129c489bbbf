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

// Option configures the Balancer that [New] and [Load] make.
type Option interface{ apply(*options) }

type options struct {
	source    peers.Source
	hasSource bool // by WithPeers, which may say that there is none
	sources   map[string]SourceFunc
	log       *slog.Logger
	pod       string
	addr      string
	zone      string
	revision  string
	key       func(ConnInfo) string
	weigh     func(ConnStats) float64
	shed      func() string
	share     func() float64
	cores     func() float64 // of the CPU limit, 0 if it is not known
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// ConnInfo is what is known of a connection when it is accepted, for [WithKey].
type ConnInfo struct {
	// RemoteAddr is the client's address, LocalAddr the server's. A listener of the
	// user's own may return nil for either.
	RemoteAddr, LocalAddr net.Addr
	// AuthInfo is what the handshake of the credentials returned: credentials.TLSInfo for TLS, a
	// type of the insecure package for plaintext.
	AuthInfo credentials.AuthInfo
}

// WithPeers sets the source of peers: one of peers/static, peers/dns or peers/kube, or one of
// your own. Without this option, [Load] makes the source that peers.source names, and [New] has
// none. If s is nil, there is none in either. Without a source nothing is moved for balance:
// connections are drained only for their age, before a certificate expires, by the program itself,
// and at shutdown.
//
// A source of your own need only report members and their addresses; the other fields of
// peers.Membership and peers.Member have useful zero values.
func WithPeers(s peers.Source) Option {
	return optionFunc(func(o *options) { o.source, o.hasSource = s, true })
}

// WithSource tells [Load] how to make the source that peers.source calls name. It is
// needed for config.SourceKubernetes, whose function is kube.FromConfig, and may replace
// those for static and dns. [New] ignores it.
func WithSource(name string, f SourceFunc) Option {
	return optionFunc(func(o *options) {
		if o.sources == nil {
			o.sources = map[string]SourceFunc{}
		}
		o.sources[name] = f
	})
}

// WithLogger sets the logger for changes of the verdict, decisions and conditions. By
// default, and if it is nil, that is slog.Default(). For silence, pass
// slog.New(slog.DiscardHandler).
func WithLogger(l *slog.Logger) Option { return optionFunc(func(o *options) { o.log = l }) }

// WithSelf sets this pod's name and its own IP address, by which it recognizes itself among
// its peers. The default of the name is $POD_NAME, or else the host's name; that of the
// address is $POD_IP. An empty value keeps the default. Without any address, this pod is the
// member with its name, or else the one member that has an address of this machine's network
// interfaces. A condition shows if there are several of those.
func WithSelf(pod, addr string) Option {
	return optionFunc(func(o *options) { o.pod, o.addr = pod, addr })
}

// WithKey sets the function that names the client of a connection. Connections with the
// same key count as those of one client. f is called once for each connection, when it has
// been accepted, and must not block. By default, the key is the remote IP address. For a key
// from the header of an RPC, see [SetKey].
func WithKey(f func(ConnInfo) string) Option { return optionFunc(func(o *options) { o.key = f }) }

// ConnStats is what is known of a connection's load, for [WithWeight].
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

// WithWeight sets a function that returns the load of one connection, in a unit of your
// choice that is the same on all pods. It takes the place of rebalance.weight, which is the
// default. f is called for each connection with RPCs once a second, and for each of the others
// at least once in ten seconds. It is called from one goroutine and must not block. A value
// that is negative, infinite or not a number counts as 0. The weight should change slowly,
// since a sudden change moves connections.
func WithWeight(f func(ConnStats) float64) Option {
	return optionFunc(func(o *options) { o.weigh = f })
}

// WithOverload sets a signal of overload. f returns the reason for which this pod is
// overloaded, such as "memory at 95 %", or an empty string. While the pod is overloaded and
// others are not, its share shrinks by a thousandth a second, and ten times as fast if it
// carries more than the others. It drains the connections beyond its share, down to
// rebalance.floor of the mean. No connection is ever rejected.
//
// f is called about once a second and must not block. It should keep its answer for a while
// (hysteresis). By default, rebalance.maxStreams is the only signal.
func WithOverload(f func() (why string)) Option { return optionFunc(func(o *options) { o.shed = f }) }

// WithShare sets how much load this pod should carry in proportion to the other pods: a pod
// with 2 gets twice the load of one with 1, and a pod without this option has 1. So let 1 be a
// usual pod of yours. The rest of the fleet must use the same unit.
//
// f is called about once a second, from one goroutine, and must not block. It may change its
// answer, but should do so slowly: each change moves connections. The share is a number from
// 0.01 to 100. Anything else counts as 1, and the condition share-invalid shows it.
//
// By default, a pod's share is its CPU limit in cores, from its cgroup, where pods differ. It
// counts only while all pods report one and none has a share of its own; otherwise, and if all
// have the same limit, each pod has 1.
func WithShare(f func() float64) Option { return optionFunc(func(o *options) { o.share = f }) }

func newOptions(opts []Option) options {
	o := options{key: remoteIP, cores: cgroupCores}
	for _, opt := range opts {
		opt.apply(&o)
	}
	if o.log == nil {
		o.log = slog.Default()
	}
	host, _ := os.Hostname()
	o.pod = cmp.Or(o.pod, os.Getenv("POD_NAME"), host, "unnamed")
	o.addr = cmp.Or(o.addr, os.Getenv("POD_IP"))
	o.zone, o.revision = os.Getenv("POD_ZONE"), os.Getenv("POD_REVISION")
	return o
}

// remoteIP returns the default key: the remote IP address, or the text of a remote address
// of another kind.
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
