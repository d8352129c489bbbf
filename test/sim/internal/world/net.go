package world

import (
	"slices"
	"time"
)

// Net is what is between the pods and between them and their clients.
type Net struct {
	// ReportLoss is the share of the polls that get no answer, ReportDelay how long an
	// answer takes. 0: none, 5 ms.
	ReportLoss  float64
	ReportDelay time.Duration
	// ViewEvery is how often a pod looks at the membership. 0: it watches, and hears of
	// a change within ViewDelay[0] to ViewDelay[1]; 200 ms to 1 s by default.
	ViewEvery time.Duration
	ViewDelay [2]time.Duration
	// Nodes is how many the clients are on, each with its own kube-proxy, which follows
	// within ProxyDelay. 0: 20 nodes, 0.2 to 3 s.
	Nodes      int
	ProxyDelay [2]time.Duration
	// Caches is how many DNS caches clients have in front, each client its own, and
	// CacheTTL how long an answer stays in one. 0: clients ask the authoritative server.
	Caches   int
	CacheTTL time.Duration
	// FixedOrder: DNS answers always in the same order; else it rotates by chance.
	FixedOrder bool
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

// version is a state of the endpoints: the ready pods, sorted.
type version struct {
	pods []int32
	ids  []string
}

func (v *version) has(p int32) bool {
	_, found := slices.BinarySearch(v.pods, p)
	return found
}

// dnsEntry is what the authoritative server answers since at.
type dnsEntry struct {
	at      time.Duration
	version int32
}

// openNet makes the first version, which everybody knows.
func (w *World) openNet() {
	w.versions = append(w.versions, w.readyPods())
	w.dns = append(w.dns, dnsEntry{})
	w.proxies = make([]int32, w.cfg.Net.Nodes)
	for range w.cfg.Net.Caches {
		w.caches = append(w.caches, w.upTo(w.cfg.Net.CacheTTL))
	}
}

func (w *World) readyPods() *version {
	v := &version{}
	for _, p := range w.pods {
		if p.ready {
			v.pods = append(v.pods, p.idx)
			v.ids = append(v.ids, p.id)
		}
	}
	return v
}

// endpointsChanged lets the endpoint controller make a new version soon.
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

// authoritative is what the DNS server answers now.
func (w *World) authoritative() *version { return w.versions[w.dns[len(w.dns)-1].version] }

// lookup is the answer that client gets now, from the cache in front of it if there is one.
func (w *World) lookup(client int32) *version {
	if len(w.caches) == 0 {
		return w.authoritative()
	}
	ttl := w.cfg.Net.CacheTTL
	phase := w.caches[int(client)%len(w.caches)]
	filled := w.now - (w.now-phase)%ttl
	i := len(w.dns) - 1
	for i > 0 && w.dns[i].at > filled {
		i--
	}
	return w.versions[w.dns[i].version]
}
