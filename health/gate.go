package health

import (
	"bytes"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// What it costs to answer is bounded, whoever asks and how often. Beyond that, askers get 503 at
// once or after a moment.
const (
	// answeredAtOnce is how many queries of peers are answered at a time. After a growth, all
	// pods query the new ones at about the same moment, and wait for each other for less than
	// gateWait.
	answeredAtOnce = 16
	// strangersAtOnce is the same for askers that are no members of the Service.
	strangersAtOnce = 4
	// looksAtOnce is the same for the page, the status and the metrics. One is enough for
	// people and for Prometheus.
	looksAtOnce = 2
	// perAsker is how many requests of one address are waiting or being answered. A peer polls
	// and queries at the same time, and several pods may share an address.
	perAsker = 16
	// perPeer is how many of them each pod of the Service adds at /peerz, beyond perAsker in
	// all: behind a mesh, all pods come from one address, such as 127.0.0.6 or the node's.
	perPeer = 2
	// gateWait is how long a request waits for its turn. Peers give up after 1 s.
	gateWait = 500 * time.Millisecond
	// dutyCycle is the part of the time for which a slot of strangersAtOnce and looksAtOnce
	// may work: a fifth. After each answer it rests, at most for longestPause.
	dutyCycle    = 5
	longestPause = 250 * time.Millisecond
)

// gate bounds the requests that are answered at a time, in all and for each asker.
type gate struct {
	slots chan struct{}
	rests bool       // each slot rests after an answer, for as long as dutyCycle says
	each  func() int // how many requests of one address are waiting or being answered

	mu sync.Mutex // guards what follows
	by map[netip.Addr]int
}

func newGate(slots int, rests bool) *gate {
	each := func() int { return perAsker }
	return &gate{slots: make(chan struct{}, slots), rests: rests, each: each, by: map[netip.Addr]int{}}
}

// around answers 503 to what is too much, and passes on the rest.
func (g *gate) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, next) })
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	asker := askerOf(r)
	if !g.arrive(asker) {
		busy(w, "this address has too many requests here")
		return
	}
	defer g.leave(asker)
	if !g.enter(r) {
		busy(w, "this pod answers as many requests as it may")
		return
	}
	a := held{ResponseWriter: w}
	g.compose(&a, r, next)
	a.send()
}

// compose has the answer composed in the slot, and frees the slot before the answer is sent.
// Otherwise a few clients that do not read their answers would keep everybody else away.
func (g *gate) compose(a *held, r *http.Request, next http.Handler) {
	begun := time.Now()
	defer func() { g.release(time.Since(begun)) }()
	next.ServeHTTP(a, r)
}

// held is an answer that is not sent yet. The bounds on connections and on the requests of one
// asker also bound the memory of those that clients do not read.
type held struct {
	http.ResponseWriter

	code int // 0: not set
	body bytes.Buffer
}

// WriteHeader keeps the status code. As with net/http, the first one counts.
func (a *held) WriteHeader(code int) {
	if a.code == 0 && a.body.Len() == 0 {
		a.code = code
	}
}

func (a *held) Write(p []byte) (int, error) { return a.body.Write(p) }

func (a *held) send() {
	if a.code != 0 {
		a.ResponseWriter.WriteHeader(a.code)
	}
	_, _ = a.body.WriteTo(a.ResponseWriter) // an error means that the client is gone
}

// enter waits for a slot, and reports whether there was one.
func (g *gate) enter(r *http.Request) bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(gateWait)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return true
	case <-timer.C:
	case <-r.Context().Done():
	}
	return false
}

// release frees the slot after an answer that took so long.
func (g *gate) release(took time.Duration) {
	if pause := min((dutyCycle-1)*took, longestPause); g.rests && pause > 0 {
		time.AfterFunc(pause, func() { <-g.slots })
		return
	}
	<-g.slots
}

// arrive counts a request of an asker, and reports whether it may wait for its turn.
func (g *gate) arrive(asker netip.Addr) bool {
	most := g.each()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.by[asker] >= most {
		return false
	}
	g.by[asker]++
	return true
}

func (g *gate) leave(asker netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.by[asker]--; g.by[asker] == 0 {
		delete(g.by, asker)
	}
}

// askerOf returns the address that a request comes from. Where it is not known, all requests
// are those of one asker.
func askerOf(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap().WithZone("")
}

func busy(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "busy: "+why+"; ask again later", http.StatusServiceUnavailable)
}

// byAsker lets members of the Service through one gate, and all others through another: no
// stranger can take the place of a peer.
func byAsker(src source, next http.Handler) http.Handler {
	gateOf := func(slots int, rests bool) http.Handler {
		g := newGate(slots, rests)
		g.each = func() int { return max(perAsker, perPeer*src.Members()) }
		return g.around(next)
	}
	members, others := gateOf(answeredAtOnce, false), gateOf(strangersAtOnce, true)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if src.IsMember(askerOf(r)) {
			members.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}
