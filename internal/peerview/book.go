package peerview

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"github.com/evenkeel-go/evenkeel/peers"
)

// Options say whose view of whom a Book is.
type Options struct {
	Self Self
	// Source reports the membership. Nil: there is none, and Run returns at once.
	Source peers.Source
	// Port is that of the pods' health endpoints (peers.port). 0: the one of SetPort.
	Port int
	// Salt is mixed into the hashes of clients' keys (peers.salt).
	Salt string
	// TLS returns the client's side of peers.tls. Nil: plain HTTP.
	TLS    func() *tls.Config
	Events Events
}

// Events are the news of a Book. Run calls them without the Book's lock.
type Events struct {
	// Changed wakes the loop: the membership, or answers to a query, have changed.
	Changed func()
	// ClientName is the DNS name that the source gives for its members, if any. It is
	// called before they can be seen, so that none is acted upon without a look at DNS.
	ClientName func(name string)
	// Warning is what limits a source that works; empty: nothing does.
	Warning func(text string)
	// Ended says that the source has given up.
	Ended func(err error)
}

// Book is what is known of the other pods. Its methods may be called from any goroutine.
type Book struct {
	opts   Options
	epoch  time.Time
	client peerz.Client
	poller peerz.Poller // polls with client
	hasher peerz.Hasher

	mu        sync.Mutex // guards what follows
	port      int        // of this pod's own health endpoint
	reported  []peers.Member
	members   []member // of reported, sorted by id
	unproven  bool     // some of them are
	starting  int      // as many more will be members soon
	seenAt    time.Time
	err       error              // why the source sees nothing since; nil: it does
	records   map[string]*record // by id
	polledAll bool               // every pod has been polled once
	rota      Rota[string]
	restarted []string // pods that restarted at their address, for the next view
	errors    map[string]uint64
	peers     []plan.Peer // a buffer
	queryID   uint64
	counts    *plan.Counts // the answers to that query, once they are there
}

// New returns a Book that knows nothing yet.
func New(opts Options) *Book {
	b := &Book{
		opts: opts,
		// A nanosecond ago, so that no report comes at 0, which means never.
		epoch:   time.Now().Add(-time.Nanosecond),
		hasher:  peerz.NewHasher(opts.Salt),
		records: map[string]*record{},
		errors:  map[string]uint64{},
	}
	b.client.TLS = opts.TLS
	if d, ok := opts.Source.(peers.Dialer); ok {
		b.client.Dial = dialBy(d)
	}
	b.poller.Client = &b.client
	return b
}

// dialBy lets the source reach the pods its own way, for polls and queries alike.
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
// it is also the port of the others unless Options.Port or the source says otherwise.
func (b *Book) SetPort(port int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.port = port
}

// Hasher hashes the keys of clients as peers do.
func (b *Book) Hasher() peerz.Hasher { return b.hasher }

func (b *Book) now() time.Duration { return time.Since(b.epoch) }

func shuffle(n int, swap func(i, j int)) { rand.Shuffle(n, swap) }
