package peerview

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// record holds a pod's last report, and why the latest request to the pod failed.
type record struct {
	report   peerz.Report
	at       time.Duration // when report came, since the Book's epoch; 0 if none has
	err      error
	tries    int // addresses given up so far; the next one is used
	failures int // failed requests since the last good answer
}

// summary returns what counts of the report, by a weight. If cores is true, cores are part of
// the share. known is false if the report lacks that weight.
func (r *record) summary(weight string, cores bool) (s Summary, known bool) {
	load, known := LoadOf(&r.report, weight)
	serving, _ := LoadOf(&r.report, config.WeightConnections)
	var streams float64
	if weight == config.WeightRequests {
		streams = r.report.Loads[config.WeightStreams]
	}
	return Summary{
		At: r.at, Load: load, Serving: int(serving), Streams: streams, InFlight: r.report.InFlight[weight], Share: r.share(cores), Warm: part(r.report.Warm),
		Ready: r.report.Ready, Reaching: r.report.Reaching, Overloaded: r.report.Overloaded, Paused: r.report.Paused,
	}, known
}

// share returns the pod's share with all of its parts.
func (r *record) share(cores bool) float64 {
	return capacityOf(&r.report).share(cores) * part(r.report.Warm) * part(r.report.Relief)
}

// LoadOf returns a report's load by a weight. Versions that reported connections alone are
// understood.
func LoadOf(r *peerz.Report, weight string) (load float64, known bool) {
	load, known = r.Loads[weight]
	if !known && weight == config.WeightConnections {
		return float64(r.Connections - r.Draining), true
	}
	return load, known
}

// recordLocked returns the pod's record, which may be new.
func (b *Book) recordLocked(id string) *record {
	r := b.records[id]
	if r == nil {
		r = &record{}
		b.records[id] = r
	}
	return r
}

// Record takes the answer to a poll of the pod with that id. Run calls it.
func (b *Book) Record(id string, rep peerz.Report, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, now := b.recordLocked(id), b.now()
	if err != nil {
		r.err = err
		if !errors.Is(err, peerz.ErrNotAsked) {
			r.failures++
		}
		return
	}
	if r.at > 0 && r.restartedAs(&rep, now) {
		b.restarted = append(b.restarted, id)
	}
	*r = record{report: rep, at: now, tries: r.tries}
}

// restartedAs reports whether rep comes from a pod that began after r was recorded. A pod
// with another name must be younger than the report. Otherwise an address at which several
// pods answer in turn would look like a restart every time.
func (r *record) restartedAs(rep *peerz.Report, now time.Duration) bool {
	if rep.Pod == r.report.Pod {
		return rep.UptimeMillis < r.report.UptimeMillis || rep.Generation < r.report.Generation
	}
	return rep.Uptime() < now-r.at+provenFor
}

// freshLocked returns a pod's report if it still proves whether the pod serves.
func (b *Book) freshLocked(id string) (s Summary, fresh bool) {
	r := b.records[id]
	if r == nil {
		return Summary{}, false
	}
	s, _ = r.summary("", false)
	return s, s.Fresh(b.now(), b.provenForLocked())
}

func (b *Book) provenForLocked() time.Duration { return ProvenFor(len(b.members), b.unproven) }

// Restarted returns, once, the pods that restarted since the last call.
func (b *Book) Restarted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.restarted
	b.restarted = nil
	return out
}

// Uptimes returns how long each pod has served, for those that have reported it and for
// this one.
func (b *Book) Uptimes(self string, own time.Duration) map[string]time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, out := b.now(), map[string]time.Duration{self: own}
	for id, r := range b.records {
		if r.at > 0 && id != self {
			out[id] = r.report.Uptime() + now - r.at
		}
	}
	return out
}

// Peers returns what the serving pods besides this one last reported of their load,
// sorted by id. The slice is used again by the next call.
func (b *Book) Peers(weight, self string) []plan.Peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peers = b.peers[:0]
	now, proves, cores := b.now(), b.provenForLocked(), b.coresCountLocked()
	for i := range b.members {
		m := &b.members[i]
		r := b.records[m.id]
		if r == nil || m.id == self || m.Terminating || m.Unproven && now-r.at >= proves {
			continue
		}
		s, known := r.summary(weight, cores)
		if peer, ok := s.Peer(m.id, now); ok && known {
			peer.OtherSalt = b.hasher.OtherSalt(&r.report)
			b.peers = append(b.peers, peer)
		}
	}
	return b.peers
}

// LoadsWithin returns the sum of the loads that the given pods reported within a time, with what
// is in flight from them, the sum of their shares, and how many of them there are.
func (b *Book) LoadsWithin(d time.Duration, members []Member, weight string) (load, share float64, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, cores := b.now(), b.coresCountLocked()
	for i := range members {
		r := b.records[members[i].ID]
		if members[i].Self || r == nil || r.at == 0 || now-r.at > d {
			continue
		}
		if one, known := LoadOf(&r.report, weight); known {
			load, share, n = load+one+r.report.InFlight[weight], share+r.share(cores), n+1
		}
	}
	return load, share, n
}

// count counts a failed request, for evenkeel_peer_errors_total.
func (b *Book) count(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errors[peerz.ClassOf(err)]++
}

// tryNext makes a pod that failed to answer be polled at its next address from now on.
func (b *Book) tryNext(ctx context.Context, t *target, err error) {
	if err == nil || errors.Is(err, peerz.ErrNotAsked) || ctx.Err() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := slices.BinarySearchFunc(b.members, member{id: t.id}, byID)
	if !ok {
		return
	}
	// A poll and a query may both fail at one address. That counts as one failure.
	addrs, r := b.members[i].addrs, b.recordLocked(t.id)
	if addrs[r.tries%len(addrs)] == t.at.Addr() {
		r.tries++
	}
}
