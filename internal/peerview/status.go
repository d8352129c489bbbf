package peerview

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/plan"
)

// Row is one pod as a person sees it.
type Row struct {
	// Pod is its name, by its own report if there is one.
	Pod string
	// Address is where it is asked: its lowest address with the port, if that is known.
	Address string
	Self    bool
	// Ready: it has reported that it serves, and has answered the latest question.
	Ready       bool
	Connections int
	// Load is nil if it has not reported for a minute, or does not have the weight.
	Load *float64
	// Age is how old the report is, where that is more than 5 s; else 0.
	Age time.Duration
	// Err is why the latest question had no answer.
	Err error
}

// Rows lists the pods that the source lists, by address, with the loads by a weight.
func (b *Book) Rows(weight string) []Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unproven && !b.polledAll {
		return nil
	}
	rows := make([]Row, 0, len(b.members))
	for i := range b.members {
		rows = append(rows, b.rowLocked(&b.members[i], weight))
	}
	slices.SortFunc(rows, func(x, y Row) int { return strings.Compare(x.Address, y.Address) })
	return rows
}

func (b *Book) rowLocked(m *member, weight string) Row {
	row := Row{Pod: m.Pod, Address: addressText(m.addrs[0], b.portLocked(m.Port)), Self: m.self}
	r := b.records[m.id]
	if m.self || r == nil {
		return row
	}
	row.Err = r.err
	if r.at == 0 {
		return row
	}
	row.Pod, row.Connections = r.report.Pod, r.report.Connections
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

// Errors returns the questions without a good answer, by class.
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
	for id, r := range b.records {
		// Of many, each is asked again only after minutes: one failure is no news.
		if r.err != nil && (r.failures > 1 || !many) {
			silent = append(silent, fmt.Sprintf("%s (%v)", id, r.err))
		}
	}
	if len(silent) == 0 {
		return ""
	}
	slices.Sort(silent)
	n := len(silent)
	return fmt.Sprintf("%d of %d peers do not answer on their health port: %s", n, len(b.records), strings.Join(silent[:min(n, 3)], "; "))
}

// Duplicates returns a sentence on pods that have one name, empty if there are none: a
// person could not tell them apart.
func (b *Book) Duplicates() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	byName := map[string][]string{b.opts.Self.Pod: {"this pod"}}
	for id, r := range b.records {
		if r.at > 0 {
			byName[r.report.Pod] = append(byName[r.report.Pod], id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if ids := byName[name]; len(ids) > 1 {
			slices.Sort(ids)
			return fmt.Sprintf("%d pods have the name %q (%s): give each its own $POD_NAME or -name; until then they are told apart by address",
				len(ids), name, strings.Join(ids, ", "))
		}
	}
	return ""
}
