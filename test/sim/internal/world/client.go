package world

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is how a client reaches its pods.
type Kind uint8

const (
	// RoundRobin is multi-homed: it connects to every address of a headless name.
	RoundRobin Kind = iota
	// ClusterIP is single-homed: it connects to the pod that kube-proxy picks.
	ClusterIP
	// PickFirst is single-homed: it connects to the first address of a headless name.
	PickFirst
)

// Resolver is how a client's gRPC library resolves again after a GOAWAY.
type Resolver uint8

const (
	// Delays is the behavior of Go, C-core and JS: a request within 30 s of the last
	// resolution waits until the 30 s are over.
	Delays Resolver = iota
	// Drops is the behavior of Java: a request within 30 s of the last resolution is dropped.
	Drops
)

// resolveAgain is the shortest time between two resolutions of a client.
const resolveAgain = 30 * time.Second

// Group is a number of clients of the same kind.
type Group struct {
	Name string
	// Count is the number of channels (RoundRobin) or connections.
	Count int
	Kind  Kind
	// Keys is the number of keys that the clients share: 1 behind a NAT. If it is 0, each
	// client has a key of its own.
	Keys int
	// SameKeys makes the clients share the keys of the previous group, as behind one NAT. Keys
	// must be the same in both groups.
	SameKeys bool
	Resolver Resolver
	// Shuffle makes pick_first clients shuffle the answer.
	Shuffle bool
	// UsesOld makes pick_first clients reconnect to an address of their previous answer, as a
	// busy grpc-go does.
	UsesOld bool
	// Affinity makes kube-proxy send a client to the same pod as long as that pod exists.
	Affinity bool
	// IdleShare is the share of clients that reconnect only with their next RPC.
	IdleShare float64
	// IdleMean is how long they wait for it, on average.
	IdleMean time.Duration
	// LongShare is the share of clients with a long stream.
	LongShare float64
	// LongFor is how long a draining connection with such a stream stays open.
	LongFor time.Duration
	// Lazy makes single-homed clients with a long stream reconnect only once that stream has
	// ended, because they make no other call. Other clients reconnect at once.
	Lazy bool
	// Life is how long a client lives on average. Its end closes its connections, and a new
	// client with a key of its own (unless Keys is set) begins. If it is 0, clients live on.
	Life time.Duration
	// Zone is the zone of the clients, from 1 to Config.Zones. 0: they are in none.
	Zone int
	// Bursts are how the request rate of a client varies. The zero value is a steady rate.
	Bursts Bursts
	// Zipf is the exponent of the request rates; 0 makes all rates equal. The mean is 10/s.
	Zipf float64
	// Subset makes round_robin channels connect to this many of the pods only, chosen by a hash
	// of pod and channel each time they resolve (gRFC A68). 0: to all.
	Subset int
	// Silent clients send no requests.
	Silent bool
	// Random places the clients at random instead of evenly.
	Random bool
}

// address is an address of a round_robin channel.
type address struct {
	pod, conn int32 // conn -1: not connected
}

// client is a channel (RoundRobin) or the owner of one connection. It is small, since there may
// be a million.
type client struct {
	resolved  time.Duration // when it last resolved
	resolveAt time.Duration // when the requested resolution happens; 0: none is requested
	rate      float32
	key       int32
	node      int32
	conn      int32 // ClusterIP, PickFirst; -1: none
	first     int32 // PickFirst: the first pod of the last answer
	channel   int32 // RoundRobin: index of World.channels
	group     int16
	flying    int16 // its draining connections with open streams
	idle      bool
	long      bool
}

func (w *World) addGroup(g int16) {
	cfg := &w.cfg.Groups[g]
	from := len(w.clients)
	keys := cmp.Or(cfg.Keys, cfg.Count)
	firstKey := int32(len(w.keys) - keys)
	if !cfg.SameKeys {
		firstKey = w.addKeys(keys)
	}
	rates := zipfRates(cfg.Count, cfg.Zipf)
	w.clients = slices.Grow(w.clients, cfg.Count)
	if cfg.Kind != RoundRobin {
		w.conns = slices.Grow(w.conns, cfg.Count+cfg.Count/100)
	}
	for i := range cfg.Count {
		c := client{group: g, conn: -1, rate: float32(rates[i]), node: int32(w.rng.IntN(w.cfg.Net.Nodes))}
		c.key = firstKey + int32(i%keys)
		c.resolved = w.now - resolveAgain - w.upTo(time.Minute)
		c.idle = w.rng.Float64() < cfg.IdleShare
		if cfg.Silent {
			c.rate = 0
		}
		c.long = w.rng.Float64() < cfg.LongShare
		w.clients = append(w.clients, c)
	}
	w.place(from, cfg)
	for i := from; i < len(w.clients); i++ {
		w.planEnd(int32(i))
	}
}

func (w *World) addKeys(n int) (first int32) {
	first = int32(len(w.keys))
	w.keys, w.heads, w.pinned = slices.Grow(w.keys, n), slices.Grow(w.heads, n), slices.Grow(w.pinned, n)
	for i := range n {
		w.keys = append(w.keys, "k"+strconv.FormatUint(w.cfg.Seed, 10)+"-"+strconv.Itoa(int(first)+i))
		w.heads = append(w.heads, -1)
		w.pinned = append(w.pinned, -1)
	}
	return first
}

func (w *World) keyNumber(key string) int32 {
	_, n, _ := strings.Cut(key, "-")
	n, _, _ = strings.Cut(n, "~") // the salt
	i, err := strconv.Atoi(n)
	if err != nil {
		panic(fmt.Sprintf("key %q: %v", key, err))
	}
	return int32(i)
}

// place connects the clients from index from on, as if they had been connected for a long time.
func (w *World) place(from int, g *Group) {
	loads := w.startLoads(g)
	for i := from; i < len(w.clients); i++ {
		c := &w.clients[i]
		if g.Kind == RoundRobin {
			w.placeChannel(int32(i), c)
			continue
		}
		least := w.leastLoaded(loads)
		if g.Random {
			least = int(w.choosePod(c, w.versions[0]))
		}
		loads[least] += float64(c.rate)
		c.first = int32(least)
		c.conn = w.acceptOld(int32(i), w.pods[least])
		if g.Affinity {
			w.pinned[c.key] = int32(least)
		}
	}
}

func (w *World) placeChannel(i int32, c *client) {
	c.channel = int32(len(w.channels))
	var addrs []address
	for _, pod := range w.subset(i, w.versions[0]).pods {
		addrs = append(addrs, address{pod, w.acceptOld(i, w.pods[pod])})
	}
	w.channels = append(w.channels, addrs)
}

// acceptOld opens a connection and dates it back to a random time of the past hour.
func (w *World) acceptOld(client int32, p *pod) int32 {
	slot := w.accept(client, p)
	w.info(&w.conns[slot]).Opened = w.upTo(w.now - 5*time.Minute)
	return slot
}

// leastLoaded returns the pod with the least load. The rates descend, so the loads end up even.
func (w *World) leastLoaded(loads []float64) int {
	best := 0
	for i := range loads {
		if loads[i] < loads[best]-1e-9 {
			best = i
		}
	}
	return best
}

// reconnect makes a client replace its connection to pod, which it must no longer use.
func (w *World) reconnect(i, pod int32) {
	c := &w.clients[i]
	g := &w.cfg.Groups[c.group]
	soon := w.now + w.between(2*time.Millisecond, 20*time.Millisecond)
	if c.idle {
		soon = w.now + time.Duration(w.rng.ExpFloat64()*float64(g.IdleMean))
	}
	switch g.Kind {
	case RoundRobin:
		if a := w.address(c, pod); a != nil {
			a.conn = -1
			w.push(evDial, soon, i, pod)
		}
		w.requestResolve(i)
	case PickFirst:
		c.conn = -1
		w.requestResolve(i)
		if g.UsesOld && !c.idle {
			soon = w.now + w.upTo(500*time.Microsecond) // before an answer arrives
		} else if answer := c.resolveAt + time.Millisecond; c.resolveAt > 0 && answer < w.now+10*time.Millisecond {
			soon = max(soon, answer)
		}
		w.push(evDial, soon, i, -1)
	case ClusterIP:
		c.conn = -1
		w.push(evDial, soon, i, -1)
	}
}

// address returns the channel's address of pod, or nil.
func (w *World) address(c *client, pod int32) *address { return find(w.channels[c.channel], pod) }

func find(addrs []address, pod int32) *address {
	i, found := slices.BinarySearchFunc(addrs, pod, func(a address, pod int32) int { return cmp.Compare(a.pod, pod) })
	if !found {
		return nil
	}
	return &addrs[i]
}

// requestResolve asks the client's resolver for a resolution: at once, after 30 s since the last
// one, or never (Drops).
func (w *World) requestResolve(i int32) {
	c := &w.clients[i]
	if c.resolveAt > 0 {
		return
	}
	at := w.now
	if again := c.resolved + resolveAgain; again > at {
		if w.cfg.Groups[c.group].Resolver == Drops {
			return
		}
		at = again
	}
	c.resolveAt = at + w.between(time.Millisecond, 5*time.Millisecond)
	w.push(evResolve, c.resolveAt, i, 0)
}

func (w *World) resolve(i int32) {
	c := &w.clients[i]
	c.resolveAt, c.resolved = 0, w.now
	w.newAnswer(i)
}

// newFirst handles an answer for a pick_first client. It keeps its connection if the answer
// lists that pod.
func (w *World) newFirst(i int32, v *version) {
	c := &w.clients[i]
	if len(v.pods) == 0 {
		return
	}
	c.first = v.pods[0]
	if w.cfg.Groups[c.group].Shuffle || !w.cfg.Net.FixedOrder {
		c.first = v.pods[w.rng.IntN(len(v.pods))]
	}
	if c.conn >= 0 && !v.has(w.conns[c.conn].pod) {
		w.remove(c.conn)
		c.conn = -1
		w.push(evDial, w.now+time.Millisecond, i, -1)
	}
}

// newAddresses handles an answer for a round_robin channel: it dials new addresses and closes
// the connections to removed ones.
func (w *World) newAddresses(i int32, v *version) {
	c := &w.clients[i]
	old := w.channels[c.channel]
	addrs := make([]address, 0, len(v.pods))
	for _, p := range v.pods {
		if a := find(old, p); a != nil {
			addrs = append(addrs, *a)
			continue
		}
		addrs = append(addrs, address{p, -1})
		w.push(evDial, w.now+w.between(time.Millisecond, 10*time.Millisecond), i, p)
	}
	w.channels[c.channel] = addrs
	for _, a := range old {
		if a.conn >= 0 && !v.has(a.pod) {
			w.remove(a.conn)
		}
	}
}

// dial connects client i to pod to, an address of its round_robin channel. A negative to lets
// the client or its kube-proxy choose the pod.
func (w *World) dial(i, to int32) {
	c := &w.clients[i]
	if to >= 0 {
		w.dialAddress(i, to)
		return
	}
	if c.conn >= 0 {
		return
	}
	var p *pod
	if w.cfg.Groups[c.group].Kind == PickFirst {
		p = w.firstPod(i)
	} else {
		p = w.proxied(c)
	}
	if p == nil || !p.accepts() {
		w.push(evDial, w.now+w.backoff(), i, -1)
		return
	}
	c.conn = w.accept(i, p)
}

func (w *World) dialAddress(i, to int32) {
	a := w.address(&w.clients[i], to)
	if a == nil || a.conn >= 0 {
		return
	}
	if p := w.pods[to]; p.accepts() {
		a.conn = w.accept(i, p)
		return
	}
	w.requestResolve(i)
	w.push(evDial, w.now+w.backoff(), i, to)
}

func (p *pod) accepts() bool { return !p.dead && (p.ready || p.stopping || p.unlisted) }

func (w *World) backoff() time.Duration {
	return w.between(800*time.Millisecond, 1200*time.Millisecond)
}

// firstPod returns the first pod of the last answer, or another one if that is gone.
func (w *World) firstPod(i int32) *pod {
	c := &w.clients[i]
	if p := w.pods[c.first]; p.accepts() {
		return p
	}
	w.requestResolve(i)
	v := w.lookup(i)
	if len(v.pods) == 0 {
		return nil
	}
	return w.pods[v.pods[w.rng.IntN(len(v.pods))]]
}

// proxied returns the pod that kube-proxy picks on the client's node.
func (w *World) proxied(c *client) *pod {
	v := w.versions[w.proxies[c.node]]
	if len(v.pods) == 0 {
		return nil
	}
	affinity := w.cfg.Groups[c.group].Affinity
	if pinned := w.pinned[c.key]; affinity && pinned >= 0 && v.has(pinned) {
		return w.pods[pinned]
	}
	p := w.pods[w.choosePod(c, v)]
	if affinity {
		w.pinned[c.key] = p.idx
	}
	return p
}
