package peerview

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// target is the address at which a pod is polled, and the name of the pod, if known.
type target struct {
	id, pod  string
	at       netip.AddrPort
	failures int
	former   bool // it is no longer listed
	unknown  bool // it has not reported yet
}

// pollUntil polls until ctx is done.
func (b *Book) pollUntil(ctx context.Context) {
	tick := time.NewTicker(PollEvery)
	defer tick.Stop()
	for {
		begun := time.Now()
		b.poll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-b.news:
			// So that new pods are known soon, and that others learn that this one is starting.
			sleep(ctx, max(gather, leastPause-time.Since(begun)))
		case <-tick.C:
		}
	}
}

const (
	// gather is how long a poll of new pods waits for others that are listed at the same time.
	// Planning needs the answers within 100 ms.
	gather = 50 * time.Millisecond
	// leastPause bounds the polls when the membership changes again and again.
	leastPause = 100 * time.Millisecond
)

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// poll polls the pods whose turn it is.
func (b *Book) poll(ctx context.Context) {
	known, targets, complete := b.due()
	addrs := make([]netip.AddrPort, len(targets))
	for i, t := range targets {
		addrs[i] = t.at
	}
	met := false
	for i, a := range b.poller.Poll(ctx, addrs) {
		err := a.Err
		if err == nil {
			err = a.Report.CheckPod(targets[i].pod)
		}
		if !targets[i].former {
			b.count(ctx, err)
		}
		b.Record(targets[i].id, a.Report, err)
		b.tryNext(ctx, &targets[i], err)
		met = met || err == nil && targets[i].unknown
	}
	if b.polled(known && complete) || met {
		b.opts.Events.Changed()
	}
}

// due returns the pods to poll now, and whether each pod will then have been polled once.
// Those that answered last time come first, so that pods that hang do not use up the others'
// time.
func (b *Book) due() (known bool, now []target, complete bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.targetsLocked()
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].id
	}
	complete = b.rota.Next(ids, len(ids), b.mateLocked(), shuffle, func(id string) bool {
		i, found := slices.BinarySearchFunc(all, id, func(t target, id string) int { return strings.Compare(t.id, id) })
		if found {
			now = append(now, all[i])
		}
		return found
	})
	shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
	slices.SortStableFunc(now, func(x, y target) int { return cmp.Compare(x.failures, y.failures) })
	return !b.seenAt.IsZero(), now, complete
}

// mateLocked returns a function that reports whether a pod is in the zone of this one; nil if
// clients reach the pods of all zones.
func (b *Book) mateLocked() func(id string) bool {
	zones := b.zonesLocked()
	zone, tied := zones[b.presence.id]
	if !tied {
		return nil
	}
	return func(id string) bool { return zones[id] == zone }
}

// polled records that each pod has been polled once, and reports whether that is new.
func (b *Book) polled(all bool) (first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if all {
		b.presence.walks++
	}
	first = all && !b.polledAll
	b.polledAll = b.polledAll || all
	return first
}

// targetsLocked returns the targets of the other pods, sorted by id. It deletes the records
// of pods that are no longer listed. Only a pod that is no longer listed itself polls those:
// they may be out of the Service, too.
func (b *Book) targetsLocked() []target {
	var out []target
	kept := make(map[string]*record, len(b.members))
	add := func(m *member, former bool) {
		r := b.records[m.id]
		if r != nil {
			kept[m.id] = r
		} else {
			r = &record{}
		}
		if port := b.portLocked(m.Port); port != 0 && !m.self {
			at := netip.AddrPortFrom(m.addrs[r.tries%len(m.addrs)], uint16(port))
			out = append(out, target{id: m.id, pod: m.Pod, at: at, failures: r.failures, former: former, unknown: r.at == 0})
		}
	}
	for i := range b.members {
		add(&b.members[i], false)
	}
	if b.wasMemberLocked() {
		for _, f := range b.former {
			if time.Since(f.gone) <= formerFor {
				add(&f.member, true)
			}
		}
		slices.SortFunc(out, func(x, y target) int { return strings.Compare(x.id, y.id) })
	}
	b.records = kept
	return out
}

// Portless returns how many other pods are not polled because the port of their health
// endpoints is not known.
func (b *Book) Portless() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for i := range b.members {
		if m := &b.members[i]; !m.self && !m.Terminating && b.portLocked(m.Port) == 0 {
			n++
		}
	}
	return n
}

// portLocked returns the port of a pod's health endpoint, 0 if it is unknown. It is the one
// that the source gives, otherwise peers.port, otherwise this pod's own.
func (b *Book) portLocked(given int) int { return cmp.Or(given, b.opts.Port, b.port) }
