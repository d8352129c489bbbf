package peerview

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

// Options configure a Book.
type Options struct {
	Self Self // this pod
	// Source reports the membership. If it is nil, Run returns at once.
	Source peers.Source
	// Port is the port of the pods' health endpoints (peers.port). If it is 0, SetPort
	// decides.
	Port int
	// Salt is mixed into the hashes of clients' keys (peers.salt).
	Salt string
	// TLS returns the client side of peers.tls. If it is nil, pods are polled by plain HTTP.
	TLS    func() *tls.Config
	Events Events
	// ByName reports whether the source looks up a DNS name, which should be that of a
	// headless Service.
	ByName bool
	// Revision is the revision of the workload that this pod runs. Default empty: not known.
	Revision string
	// Ready reports whether this pod serves. Default nil: it always does.
	Ready func() bool
	// Interfaces returns the addresses of this machine's network interfaces. Default nil: the
	// system's.
	Interfaces func() []netip.Addr
}

// Events are callbacks of a Book. Run calls them without the Book's lock.
type Events struct {
	// Changed is called when the membership has changed or a query has its answers.
	Changed func()
	// ClientName is called with the DNS name that the source gives for its members, if any.
	// That is before Members returns them, so that nothing moves before DNS is checked.
	ClientName func(name string)
	// Warning is called with the problem of a source that works, empty if there is none.
	Warning func(text string)
	// Ended is called when the source has stopped with an error.
	Ended func(err error)
}

// Book holds what this pod knows of the others. Its methods may be called from any goroutine.
type Book struct {
	opts   Options
	epoch  time.Time
	client peerz.Client
	poller peerz.Poller // polls with client
	hasher peerz.Hasher
	addrs  atomic.Pointer[map[netip.Addr]bool] // of members; a set is never changed
	news   chan struct{}                       // gets a value when the source lists pods that were not listed before

	mu        sync.Mutex // guards what follows
	port      int        // of this pod's own health endpoint
	capacity  Capacity   // of this pod
	reported  []peers.Member
	changedAt time.Time         // when it last changed
	local     []netip.Addr      // of this machine's network interfaces, as of then
	alike     []*member         // of members: several of which one may be this pod
	ownAddrs  []netip.Addr      // of this pod, as last listed
	members   []member          // of reported, sorted by id
	unproven  bool              // whether some of them are unproven
	presence  presence          // of this pod among them
	former    map[string]former // members that are no longer listed, by id
	starting  int               // how many more pods are about to be members
	announced map[string]announced
	seenAt    time.Time          // when the source last reported a good view
	err       error              // why it has failed since; nil if it has not
	records   map[string]*record // by id
	polledAll bool               // whether every pod has been polled once
	rota      Rota[string]
	restarted []string // pods that restarted at their address, for the next view
	errors    map[string]uint64
	peers     []plan.Peer // a buffer
	queryID   uint64
	counts    *plan.Counts // the answers to that query, nil until they are complete

	startingKnown bool          // whether these are all pods that are starting
	crowdedAt     time.Duration // when an announcement was last refused; 0: never
}

// New returns a Book that knows nothing yet.
func New(opts Options) *Book {
	if opts.Interfaces == nil {
		opts.Interfaces = interfaceAddrs
	}
	if opts.Ready == nil {
		opts.Ready = func() bool { return true }
	}
	b := &Book{
		opts: opts,
		// The epoch is a nanosecond ago, because a report time of 0 means never.
		epoch:     time.Now().Add(-time.Nanosecond),
		hasher:    peerz.NewHasher(opts.Salt),
		news:      make(chan struct{}, 1),
		former:    map[string]former{},
		announced: map[string]announced{},
		records:   map[string]*record{},
		errors:    map[string]uint64{},
	}
	b.client.TLS, b.client.Start = opts.TLS, b.announcement
	if opts.Self.Addr.IsLoopback() {
		b.client.Dial = dialFrom(opts.Self.Addr)
	}
	if d, ok := opts.Source.(peers.Dialer); ok {
		b.client.Dial = dialBy(d)
	}
	b.poller.Client = &b.client
	// All pods of a poll at the same time: each then has all of the second. A pod whose CPU is
	// throttled would miss a share of it, and fall silent just when it is busy.
	b.poller.Concurrency = plan.PollAll + plan.PollHandful
	return b
}

// dialFrom returns a dial function for the pods of one machine, which comes from this pod's own
// address. The system would choose the same address for all of them, and then nobody could tell
// peers from strangers.
func dialFrom(self netip.Addr) func(context.Context, string, string) (net.Conn, error) {
	from := &net.TCPAddr{IP: self.AsSlice()}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		if at, err := netip.ParseAddrPort(addr); err == nil && at.Addr().IsLoopback() && at.Addr().Is4() == self.Is4() {
			d.LocalAddr = from
		}
		return d.DialContext(ctx, network, addr)
	}
}

// dialBy returns a dial function that lets the source make the connections to the pods.
func dialBy(d peers.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		at, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, err
		}
		return d.DialPeer(ctx, at)
	}
}

// Run watches the source and polls the pods until ctx is done.
func (b *Book) Run(ctx context.Context) {
	if b.opts.Source == nil {
		return
	}
	defer b.client.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { b.watch(ctx) })
	wg.Go(func() { b.pollUntil(ctx) })
}

// SetPort sets the port of this pod's own health endpoint. Pods of one fleet are alike, so
// the others are polled on the same port unless Options.Port or the source gives another.
func (b *Book) SetPort(port int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.port = port
}

// Hasher returns the hasher of clients' keys. All pods with the same salt hash alike.
func (b *Book) Hasher() peerz.Hasher { return b.hasher }

func (b *Book) now() time.Duration { return time.Since(b.epoch) }

func shuffle(n int, swap func(i, j int)) { rand.Shuffle(n, swap) }
