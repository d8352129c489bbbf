package rebalance

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conns"
)

// straysShown is how long a stray RPC shows. Kubelets probe every 10 s and other monitors
// every minute or so, so a cause that lasts shows without a gap. The alert on errors waits
// for 5 min, longer than one stray RPC shows.
const straysShown = 3 * time.Minute

// strays counts the RPCs on connections that this Balancer does not track.
type strays struct {
	mu    sync.Mutex // guards what follows
	total uint64
	last  map[string]time.Time // by the code of the cause's condition
}

// strayTexts has a sentence for each cause.
var strayTexts = map[string]string{
	untracked: "RPCs arrive on connections that evenkeel does not track and cannot drain: a grpc.Creds option after " +
		"serveropts.Options has replaced its credentials, or serveropts.Options is missing. " +
		"Pass your credentials as serveropts.Options(bal, creds) to grpc.NewServer and remove grpc.Creds",
	serveHTTP: "RPCs arrive through ServeHTTP of an http.Server whose connections evenkeel does not track and cannot drain: " +
		"pass your http.Server to serveropts.HTTPServer, and serve with the methods of the result",
	otherBalancer: "RPCs arrive on connections that another Balancer of this process tracks: " +
		"pass the same Balancer to serveropts.Options and to health.Register",
}

// seen notes that an RPC with this context was served and reports whether this Balancer
// tracks its connection. The first RPC on another connection shows why it does not.
func (b *Balancer) seen(ctx context.Context) bool {
	c, _ := conns.FromContext(ctx)
	if c != nil && c.In(b.reg) || c == nil && !conns.Untracked(ctx) {
		return true
	}
	b.strays.add(strayCause(ctx, c))
	b.watchStrays()
	return false
}

// strayCause returns the code of the condition for an RPC on c, nil if no Balancer tracks its
// connection. grpc-go's ServeHTTP derives the RPC's context from that of the HTTP request,
// and no other transport of grpc-go does.
func strayCause(ctx context.Context, c *conns.Conn) string {
	switch {
	case c != nil:
		return otherBalancer
	case ctx.Value(http.ServerContextKey) != nil, ctx.Value(http.LocalAddrContextKey) != nil:
		return serveHTTP
	}
	return untracked
}

func (s *strays) add(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]time.Time{}
	}
	s.total++
	s.last[code] = time.Now()
}

func (s *strays) count() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// recent reports whether such an RPC was seen recently.
func (s *strays) recent(code string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ever := s.last[code]
	return ever && time.Since(at) < straysShown
}

// watchStrays shows the causes of recent strays and clears the others.
func (b *Balancer) watchStrays() {
	for code, text := range strayTexts {
		b.conds.set(code, onlyIf(b.strays.recent(code), text))
	}
}
