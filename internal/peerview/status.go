package peerview

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

var errNoPort = errors.New("its health port is not known: set peers.port, or pass health.WithPort to health.Handler")

// Row is one pod as a person sees it.
type Row struct {
	// Pod is its name, from its own report if there is one.
	Pod string
	// Address is where it is polled: its lowest address, with the port if that is known.
	Address string
	Self    bool
	// Ready reports whether its report says that it serves and it answered the latest poll.
	Ready       bool
	Connections int
	// Zone is the zone in which it runs, if that is known.
	Zone string
	// Load is nil if its report is older than a minute or lacks the weight.
	Load *float64
	// Share and Warm are those of its report, 0 if there is none.
	Share, Warm float64
	// Judgment is what it says of the balance, empty if its report has none.
	Judgment peerz.Judgment
	// Age is how old the report is, or 0 if that is at most 5 s.
	Age time.Duration
	// Err is why the latest poll failed.
	Err error
}

// Rows returns the pods that the source lists, sorted by address, with their loads by weight.
func (b *Book) Rows(weight string) []Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unproven && !b.polledAll {
		return nil
	}
	cores := b.coresCountLocked()
	rows := make([]Row, 0, len(b.members))
	for i := range b.members {
		rows = append(rows, b.rowLocked(&b.members[i], weight, cores))
	}
	slices.SortFunc(rows, func(x, y Row) int { return strings.Compare(x.Address, y.Address) })
	return rows
}

func (b *Book) rowLocked(m *member, weight string, cores bool) Row {
	row := Row{Pod: m.Pod, Address: addressText(m.addrs[0], b.portLocked(m.Port)), Self: m.self, Zone: cmp.Or(m.NodeZone, m.Zone)}
	r := b.records[m.id]
	if !m.self && b.portLocked(m.Port) == 0 {
		row.Err = errNoPort
	}
	if m.self || r == nil {
		return row
	}
	row.Err = r.err
	if r.at == 0 {
		return row
	}
	row.Pod, row.Connections, row.Zone = r.report.Pod, r.report.Connections, cmp.Or(r.report.Zone, row.Zone)
	row.Share, row.Warm, row.Judgment = r.share(cores), part(r.report.Warm), r.report.Judgment
	row.Ready = r.report.Ready && r.err == nil
	age := b.now() - r.at
	if age > provenFor {
		row.Age = age
	}
	if load, known := LoadOf(&r.report, weight); known && age <= ReportKept {
		row.Load = &load
	}
	return row
}

func addressText(a netip.Addr, port int) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, uint16(port)).String()
}

// Errors returns how many polls and queries failed, by class.
func (b *Book) Errors() map[string]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errors) == 0 {
		return nil
	}
	return maps.Clone(b.errors)
}

// Silent returns a sentence on the pods that do not answer, empty if all do.
func (b *Book) Silent() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var silent []string
	many := len(b.records) > plan.PollAll
	polled := 0
	for id, r := range b.records {
		if !b.isListedLocked(id) {
			continue // it was a member, and may be gone
		}
		polled++
		// In a large fleet each pod is polled only every few minutes, so one failure is no news.
		if r.err != nil && (r.failures > 1 || !many) {
			silent = append(silent, fmt.Sprintf("%s (%v)", id, r.err))
		}
	}
	if len(silent) == 0 {
		return ""
	}
	slices.Sort(silent)
	n := len(silent)
	return fmt.Sprintf("%d of %d peers do not answer on their health port; check the NetworkPolicy, peers.port and peers.tls: %s", n, polled, strings.Join(silent[:min(n, 3)], "; "))
}

// OtherSalts returns a sentence on the members that hash keys with another salt, empty if there
// are none.
func (b *Book) OtherSalts() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var pods []string
	others := 0
	for i := range b.members {
		m := &b.members[i]
		if m.self || m.Terminating {
			continue
		}
		others++
		if r := b.records[m.id]; r != nil && r.at > 0 && b.hasher.OtherSalt(&r.report) {
			pods = append(pods, fmt.Sprintf("%s (%s)", r.report.Pod, m.id))
		}
	}
	n := len(pods)
	if n == 0 {
		return ""
	}
	if n > maxNamed {
		pods = append(pods[:maxNamed], "...")
	}
	return fmt.Sprintf("%d of %d other pods hash clients' keys with another salt, so these pods and this one do not recognize each other's clients: "+
		"give all pods the same peers.salt: %s", n, others, strings.Join(pods, ", "))
}

// maxNamed bounds the pods that a sentence names.
const maxNamed = 5

// Duplicates returns a sentence on pods that share a name, empty if there are none. People
// could not tell such pods apart. A pod that polls itself, because it has not found itself
// among the members or is listed twice, is no duplicate.
func (b *Book) Duplicates() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.members, func(m member) bool { return m.self }) {
		return ""
	}
	own := map[string]bool{}
	for _, m := range b.hereLocked() {
		own[m.id] = true
	}
	byName := map[string][]string{b.opts.Self.Pod: {"this pod"}}
	for id, r := range b.records {
		if r.at > 0 && (!own[id] || r.report.Pod != b.opts.Self.Pod) {
			byName[r.report.Pod] = append(byName[r.report.Pod], id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if ids := byName[name]; len(ids) > 1 {
			slices.Sort(ids)
			return fmt.Sprintf("%d pods have the name %q (%s): give each its own name with $POD_NAME or rebalance.WithSelf; until then their addresses tell them apart",
				len(ids), name, strings.Join(ids, ", "))
		}
	}
	return ""
}
