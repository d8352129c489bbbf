package world

import (
	"slices"
	"strconv"
	"time"
)

// Net is the network between the pods, and between pods and clients.
type Net struct {
	// ReportLoss is the share of polls that get no answer. By default none are lost.
	ReportLoss float64
	// ReportDelay is how long an answer takes, 5 ms by default.
	ReportDelay time.Duration
	// ViewEvery is how often a pod reads the membership. If it is 0, the pod watches it, and
	// learns of a change after ViewDelay[0] to ViewDelay[1].
	ViewEvery time.Duration
	// ViewDelay is 200 ms to 1 s by default.
	ViewDelay [2]time.Duration
	// Nodes is the number of nodes that clients run on, 20 by default. Each has its own
	// kube-proxy.
	Nodes int
	// ProxyDelay is how long a kube-proxy takes to apply a change, 0.2 to 3 s by default.
	ProxyDelay [2]time.Duration
	// Caches is the number of DNS caches in front of the clients; each client uses one of
	// them. If it is 0, clients query the authoritative server.
	Caches int
	// CacheTTL is how long an answer stays in a cache.
	CacheTTL time.Duration
	// FixedOrder makes DNS answer in the same order every time. Without it the order of
	// addresses is random.
	FixedOrder bool
	// Partial, if not 0, is the number of pods in an answer of DNS, chosen at random for each
	// answer. With ViewEvery, pods read their membership from such answers too.
	Partial int
	// HidesStarting makes the endpoints list the ready pods only, as DNS does.
	HidesStarting bool
	// Split, if not 0, is the number of the youngest pods that one of two DNS servers lacks.
	// Each answer comes from one of the two by chance.
	Split int
}

func (n Net) withDefaults() Net {
	if n.ReportDelay == 0 {
		n.ReportDelay = 5 * time.Millisecond
	}
	if n.ViewDelay[1] == 0 {
		n.ViewDelay = [2]time.Duration{200 * time.Millisecond, time.Second}
	}
	if n.Nodes == 0 {
		n.Nodes = 20
	}
	if n.ProxyDelay[1] == 0 {
		n.ProxyDelay = [2]time.Duration{200 * time.Millisecond, 3 * time.Second}
	}
	return n
}

// version is a state of the endpoints: the ready pods, sorted, and how many others there are.
type version struct {
	pods                  []int32
	ids                   []string
	starting, terminating int
	zones                 map[string]string
	stopping              []string // pods that stop in good order
	oneRevision           bool
}

func (v *version) has(p int32) bool {
	_, found := slices.BinarySearch(v.pods, p)
	return found
}

// others is the number of pods besides p.
func (v *version) others(p int32) int {
	if v.has(p) {
		return len(v.pods) - 1
	}
	return len(v.pods)
}

// dnsEntry is the answer of the authoritative server from at on.
type dnsEntry struct {
	at      time.Duration
	version int32
}

// openNet makes the first version, which all nodes and caches have.
func (w *World) openNet() {
	w.versions = append(w.versions, w.readyPods())
	w.dns = append(w.dns, dnsEntry{})
	w.proxies = make([]int32, w.cfg.Net.Nodes)
	for range w.cfg.Net.Caches {
		w.caches = append(w.caches, w.upTo(w.cfg.Net.CacheTTL))
	}
}

func (w *World) readyPods() *version {
	v := &version{oneRevision: true}
	revision := int32(-1)
	for _, p := range w.pods {
		if p.ready && revision >= 0 && p.revision != revision {
			v.oneRevision = false
		} else if p.ready {
			revision = p.revision
		}
		switch {
		case p.ready:
			v.pods = append(v.pods, p.idx)
			v.ids = append(v.ids, p.id)
		case p.starting:
			v.starting++
		case p.stopping && !p.dead:
			v.terminating++
			v.stopping = append(v.stopping, p.id)
		}
	}
	v.zones = w.hints(v)
	return v
}

// hints returns the zone of each pod, as the hints of EndpointSlices do; nil without zones.
func (w *World) hints(v *version) map[string]string {
	if w.cfg.Zones == 0 {
		return nil
	}
	zones := make(map[string]string, len(v.ids))
	for i, id := range v.ids {
		zones[id] = "zone-" + strconv.Itoa(w.zoneOf(v.pods[i]))
	}
	return zones
}

// endpointsChanged makes the endpoint controller publish a new version shortly.
func (w *World) endpointsChanged() {
	if w.pending {
		return
	}
	w.pending = true
	w.after(w.between(100*time.Millisecond, 600*time.Millisecond), w.publish)
}

func (w *World) publish() {
	w.pending = false
	w.versions = append(w.versions, w.readyPods())
	n := int32(len(w.versions) - 1)
	w.after(w.between(50*time.Millisecond, 500*time.Millisecond), func() {
		if n > w.dns[len(w.dns)-1].version {
			w.dns = append(w.dns, dnsEntry{w.now, n})
		}
	})
	for node := range w.proxies {
		w.push(evProxy, w.now+w.between(w.cfg.Net.ProxyDelay[0], w.cfg.Net.ProxyDelay[1]), int32(node), n)
	}
	if w.cfg.Net.ViewEvery > 0 {
		return
	}
	for _, p := range w.pods {
		if !p.dead {
			w.push(evView, w.now+w.between(w.cfg.Net.ViewDelay[0], w.cfg.Net.ViewDelay[1]), p.idx, n)
		}
	}
}

// authoritative is the current answer of the DNS server.
func (w *World) authoritative() *version { return w.versions[w.dns[len(w.dns)-1].version] }

// lookup is the answer that client gets now: from its cache, if it has one.
func (w *World) lookup(client int32) *version {
	if len(w.caches) == 0 {
		return w.answer(w.authoritative())
	}
	ttl := w.cfg.Net.CacheTTL
	phase := w.caches[int(client)%len(w.caches)]
	filled := w.now - (w.now-phase)%ttl
	i := len(w.dns) - 1
	for i > 0 && w.dns[i].at > filled {
		i--
	}
	return w.answer(w.versions[w.dns[i].version])
}

// answer is what a DNS server that knows v answers.
func (w *World) answer(v *version) *version {
	n := len(v.pods)
	switch net := &w.cfg.Net; {
	case net.Partial > 0 && net.Partial < n:
		keep := w.rng.Perm(n)[:net.Partial]
		slices.Sort(keep)
		return v.only(keep)
	case net.Split > 0 && net.Split < n && w.rng.IntN(2) == 0:
		return &version{pods: v.pods[:n-net.Split], ids: v.ids[:n-net.Split]}
	}
	return v
}

func (v *version) only(keep []int) *version {
	part := &version{}
	for _, i := range keep {
		part.pods = append(part.pods, v.pods[i])
		part.ids = append(part.ids, v.ids[i])
	}
	return part
}
