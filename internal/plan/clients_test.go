package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// channel is one of a multi-homed client. It does what round_robin does: one connection to
// each pod that it knows, and a lookup after each GOAWAY, at most every 30 s.
type channel struct {
	key       string
	known     []string // what it resolved last
	resolved  time.Duration
	resolveAt time.Duration // when a pending lookup is due; 0: there is none
	conns     map[string]uint64
	goaways   int
	subset    int // how many of the pods it uses (gRFC A68); 0: all
}

// chosen are the pods that the channel uses, of those that DNS lists.
func (c *channel) chosen(dns []string) []string {
	if c.subset == 0 {
		return dns
	}
	pods := slices.Clone(dns)
	hash := func(pod string) uint64 { return xxhash.Sum64String(c.key + pod) }
	slices.SortFunc(pods, func(a, b string) int { return cmp.Compare(hash(a), hash(b)) })
	return pods[:c.subset]
}

func (f *fleet) addChannel(key string) {
	c := &channel{key: key, known: f.dns, resolved: f.now, conns: map[string]uint64{}}
	f.channels = append(f.channels, c)
	f.connect(c)
}

// connect opens a connection to each known pod that the channel has none to.
func (f *fleet) connect(c *channel) {
	for _, pod := range c.known {
		if _, ok := c.conns[pod]; ok || !slices.Contains(f.pods, pod) {
			continue
		}
		f.nextID++
		c.conns[pod] = f.nextID
		f.conns[pod] = append(f.conns[pod], Conn{ID: f.nextID, Key: c.key, Opened: f.now, Weight: 1, Returned: pod == f.drainingPod})
	}
}

// redial lets a channel that has lost a connection do what grpc-go does. It dials the same
// address again at once and resolves, but not within 30 s of the last time.
func (f *fleet) redial(pod string, id uint64, why reason.Reason) {
	for _, c := range f.channels {
		if c.conns[pod] == id {
			c.goaways++
			delete(c.conns, pod)
			c.resolveSoon(f.now)
			f.drainingPod = pod
			f.connect(c)
			f.drainingPod = ""
			if why == reason.Even {
				r := f.returns[pod]
				f.returns[pod] = Returns{r.Drained + 1, r.Returned + 1, r.Away}
			}
		}
	}
}

func (c *channel) resolveSoon(now time.Duration) {
	if c.resolveAt == 0 {
		c.resolveAt = max(now, c.resolved+30*time.Second)
	}
}

// resolve lets a channel learn what DNS lists now.
func (f *fleet) resolve(c *channel) {
	c.known, c.resolved, c.resolveAt = c.chosen(f.dns), f.now, 0
	for pod, id := range c.conns {
		if c.subset > 0 && !slices.Contains(c.known, pod) {
			delete(c.conns, pod)
			f.conns[pod] = slices.DeleteFunc(f.conns[pod], func(conn Conn) bool { return conn.ID == id })
		}
	}
	f.connect(c)
}

func (f *fleet) resolveDue() {
	for _, c := range f.channels {
		if c.resolveAt != 0 && f.now >= c.resolveAt {
			f.resolve(c)
		}
	}
}

// singleClient is on one pod: a pick_first channel behind a ClusterIP, which sends each new
// connection anywhere.
type singleClient struct {
	key     string
	pinned  bool   // session affinity: always back to the same pod
	gone    bool   // never comes back
	first   bool   // always to the first address of an answer whose order never changes
	zone    string // reaches the pods of this zone only
	streams bool   // its stream goes on after a GOAWAY, until endStreams
	futile  int    // drains in a row after which it came back
}

// addSingleHomed adds n clients, the same number to each pod.
func (f *fleet) addSingleHomed(n int) {
	for i := range n {
		f.place(f.pods[i%len(f.pods)], &singleClient{key: fmt.Sprintf("single-%d", i)}, false)
	}
}

func (f *fleet) anyPod() string { return f.anyOf(f.members()) }

func (f *fleet) anyOf(pods []string) string { return pods[f.rand.IntN(len(pods))] }

// target is where a client connects to.
func (f *fleet) target(c *singleClient) string {
	pods := f.members()
	switch {
	case c.first:
		return pods[0]
	case c.zone != "":
		pods = slices.DeleteFunc(slices.Clone(pods), func(pod string) bool { return f.zones[pod] != c.zone })
	}
	return f.anyOf(pods)
}

// flying is a drained connection whose stream goes on.
type flying struct {
	id uint64
	at time.Duration
}

// inFlight is what a pod reports of the streams that go on.
func (f *fleet) inFlight(pod string) Flight {
	n := len(f.flight[pod])
	if n == 0 {
		return Flight{}
	}
	return Flight{Load: float64(n), Connections: n, Streams: n, Oldest: f.now - f.flight[pod][0].at}
}

// endStreams ends all streams of drained connections: their clients connect again.
func (f *fleet) endStreams() {
	for _, pod := range f.pods {
		ended := f.flight[pod]
		delete(f.flight, pod)
		for _, c := range ended {
			f.land(pod, c.id)
		}
	}
}

// leave removes a pod in the middle of the fleet. Its clients go elsewhere.
func (f *fleet) leave(pod string) {
	f.pods = slices.DeleteFunc(slices.Clone(f.pods), func(p string) bool { return p == pod })
	f.resolveAll()
	for _, conn := range f.conns[pod] {
		if c := f.singleHomed[conn.ID]; c != nil {
			delete(f.singleHomed, conn.ID)
			f.place(f.target(c), c, false)
		}
	}
	for _, c := range f.channels {
		if _, ok := c.conns[pod]; ok {
			delete(c.conns, pod)
			c.resolveSoon(f.now)
		}
	}
	delete(f.conns, pod)
}

// enter brings a pod back, as another process.
func (f *fleet) enter(pod string) {
	f.pods = slices.Sorted(slices.Values(append(slices.Clone(f.pods), pod)))
	f.born[pod] = f.now
	f.starts[pod]++
	delete(f.states, pod)
	f.resolveAll()
}

func (f *fleet) place(pod string, c *singleClient, returned bool) {
	f.nextID++
	if !returned {
		c.futile = 0
	}
	f.singleHomed[f.nextID] = c
	f.conns[pod] = append(f.conns[pod], Conn{ID: f.nextID, Key: c.key, Opened: f.now, Weight: 1, Returned: returned, FutileDrains: c.futile})
}

// land lets a drained single-homed client connect again.
func (f *fleet) land(pod string, id uint64) {
	c := f.singleHomed[id]
	if c == nil {
		return
	}
	delete(f.singleHomed, id)
	c.futile++
	to := f.target(c)
	if c.pinned {
		to = pod
	}
	r := f.returns[pod]
	r.Drained++
	if to == pod {
		r.Returned++
	} else {
		r.Away++
	}
	f.returns[pod] = r
	if c.gone {
		return
	}
	f.place(to, c, to == pod)
}

// scaleSingleHomed scales; the single-homed clients of removed pods go anywhere.
func (f *fleet) scaleSingleHomed(n int) {
	var lost []*singleClient
	for _, pod := range f.pods[min(n, len(f.pods)):] {
		for _, c := range f.conns[pod] {
			lost = append(lost, f.singleHomed[c.ID])
			delete(f.singleHomed, c.ID)
		}
	}
	f.scaleTo(n)
	for _, c := range lost {
		f.place(f.anyPod(), c, false)
	}
}

// replaceOldest is one step of a rolling update: a new pod, and an old one whose clients go
// anywhere.
func (f *fleet) replaceOldest(i int) {
	pod, old := fmt.Sprintf("10.0.1.%02d", i+1), f.pods[0]
	f.pods, f.born[pod] = append(slices.Clone(f.pods[1:]), pod), f.now
	f.resolveAll()
	for _, c := range f.conns[old] {
		client := f.singleHomed[c.ID]
		delete(f.singleHomed, c.ID)
		f.place(f.anyPod(), client, false)
	}
	delete(f.conns, old)
	delete(f.states, old)
}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Errorf(string, ...any)
}

// wantOnAll checks that each channel has a connection to each pod.
func (f *fleet) wantOnAll(t tester) {
	t.Helper()
	for _, pod := range f.pods {
		if n := len(f.conns[pod]); n != len(f.channels) {
			t.Errorf("pod %s has %d connections, want one from each of %d channels", pod, n, len(f.channels))
		}
	}
}

func (f *fleet) wantVerdicts(t tester, want Verdict) {
	t.Helper()
	for _, pod := range f.pods {
		if got := f.verdicts[pod]; got != want {
			t.Errorf("pod %s: got verdict %s, want %s", pod, got, want)
		}
	}
}

// mean is the mean number of connections.
func (f *fleet) mean() float64 {
	sum := 0
	for _, pod := range f.pods {
		sum += len(f.conns[pod])
	}
	return float64(sum) / float64(len(f.pods))
}

// wantInBand checks every pod against the band of docs/design.md, by its own arithmetic.
func (f *fleet) wantInBand(t tester) {
	t.Helper()
	mean := f.mean()
	for _, pod := range f.pods {
		n := float64(len(f.conns[pod]))
		if n > max(math.Ceil(mean*1.1), math.Floor(mean)+1) || n < 0.7*mean {
			t.Errorf("pod %s has %v connections, outside the band around a mean of %v", pod, n, mean)
		}
	}
	f.wantVerdicts(t, Balanced)
}

// wantInBandOrExplained allows pods outside the band if one of them reports that it is
// unbalanceable.
func (f *fleet) wantInBandOrExplained(t tester) {
	t.Helper()
	for _, pod := range f.pods {
		if f.verdicts[pod] == Unbalanceable {
			return
		}
	}
	mean := f.mean()
	for _, pod := range f.pods {
		if n := float64(len(f.conns[pod])); n > max(math.Ceil(mean*1.1-1e-9), math.Floor(mean)+1) || n < 0.7*mean-1 {
			t.Errorf("pod %s has %v connections with a mean of %v, but no pod is unbalanceable", pod, n, mean)
		}
	}
}

// unreached reports whether a pod has given up clients that did not reach the new pods.
func (f *fleet) unreached() bool {
	for _, pod := range f.pods {
		if s := f.states[pod]; s.Unreached() > 0 {
			return true
		}
	}
	return false
}

// mostInASecond is the largest number of times within one second.
func mostInASecond(at []time.Duration) int {
	most, from := 0, 0
	for i := range at {
		for at[i]-at[from] >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}
