package peerview

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
)

// Peers that fail, each in its own way, all at once, over real sockets.

// moody is a pod that answers well until it is set to fail.
type moody struct {
	name  string
	bad   atomic.Bool
	asked atomic.Int32
	fault http.HandlerFunc
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.asked.Add(1)
	if m.fault != nil && m.bad.Load() {
		m.fault(w, r)
		return
	}
	telling(peerz.Report{Pod: m.name, Ready: true, UptimeMillis: 5, Connections: 3}).ServeHTTP(w, r)
}

// bodyOf answers with the JSON of a good report after a change.
func bodyOf(change func(map[string]any)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		rep := map[string]any{"pod": "x", "ready": true, "uptimeMillis": 6, "connections": 3}
		change(rep)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(rep)
	}
}

// endless answers with 100 MB and counts the bytes that went out.
func endless(sent *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		chunk := bytes.Repeat([]byte(" "), 1<<16)
		for sent.Load() < 100<<20 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}

// silent does not answer for 30 s, or until the client gives up.
func silent(t *testing.T) http.HandlerFunc {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(over) }))
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(30 * time.Second):
		case <-r.Context().Done():
		case <-over:
		}
	}
}

// faults are all of them, with the class that counts each; empty: it is no fault.
func faults(t *testing.T, sent *atomic.Int64) map[string]struct {
	why   string
	fault http.HandlerFunc
} {
	t.Helper()
	return map[string]struct {
		why   string
		fault http.HandlerFunc
	}{
		"well": {"", nil},
		"garbage": {peerz.JSON, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, "\x00\xff{[")
		}},
		"endless": {peerz.Size, endless(sent)},
		"silent":  {peerz.Timeout, silent(t)},
		"closes": {peerz.Other, func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}},
		"redirects": {peerz.Status, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/peerz?again", http.StatusFound) }},
		"gzip": {peerz.JSON, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_ = json.NewEncoder(z).Encode(peerz.Report{Pod: "x", Ready: true})
			_ = z.Close()
		}},
		"wrong pod":   {peerz.WrongPod, telling(peerz.Report{Pod: "another", Ready: true, UptimeMillis: 6}).ServeHTTP},
		"negative":    {peerz.Nonsense, bodyOf(func(m map[string]any) { m["connections"] = -3 })},
		"minus loads": {peerz.Nonsense, bodyOf(func(m map[string]any) { m["loads"] = map[string]float64{"connections": -1} })},
		"nine loads": {peerz.Nonsense, bodyOf(func(m map[string]any) {
			loads := map[string]int{}
			for i := range 9 {
				loads[fmt.Sprint(i)] = i
			}
			m["loads"] = loads
		})},
		"of the future": {"", bodyOf(func(m map[string]any) {
			m["pod"], m["altitude"], m["loads"] = "of the future", []any{"a", 1}, map[string]float64{"connections": 3, "watts": 7}
		})},
	}
}

func TestFaultyPeers(t *testing.T) {
	var sent atomic.Int64
	want := map[string]uint64{}
	var members []peers.Member
	var bad []string // ids
	all := map[string]*moody{}
	for name, f := range faults(t, &sent) {
		m := &moody{name: name, fault: f.fault}
		at, _ := serveAt(t, fmt.Sprintf("127.0.0.%d", len(all)+2), 0, m)
		members = append(members, podAt(name, at))
		all[at.Addr().String()] = m
		if f.why != "" {
			want[f.why]++
			bad = append(bad, at.Addr().String())
		}
	}
	b := asker(t, nil, members...)
	b.poll(t.Context())
	wantErrors(t, b, nil)
	wantReports(t, b, slices.Collect(maps.Keys(all)))

	for _, m := range all {
		m.bad.Store(true)
	}
	backdate(b, 20*time.Second)
	begun := time.Now()
	b.poll(t.Context())
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a peer that is silent for 30 s held up the poll for %v", took)
	}
	wantErrors(t, b, want)
	// The last good reports of peers that failed have aged; the others are new.
	wantReports(t, b, slices.Collect(maps.Keys(all)))
	for _, p := range b.Peers(config.WeightConnections, "127.0.0.1") {
		if old := p.Age >= 20*time.Second; old != slices.Contains(bad, p.Pod) || p.Load != 3 {
			t.Errorf("%s: %+v", all[p.Pod].name, p)
		}
		if all[p.Pod].asked.Load() < 2 {
			t.Errorf("%s was not polled", all[p.Pod].name)
		}
	}
	// More goes into the sockets than is read, which is 64 KiB and a buffer's worth;
	// internal/peerz counts that.
	if n := sent.Load(); n == 0 || n > 20<<20 {
		t.Errorf("%d of 100 MB went out", n)
	}

	backdate(b, 41*time.Second)
	b.poll(t.Context())
	wantReports(t, b, slices.DeleteFunc(slices.Collect(maps.Keys(all)), func(id string) bool { return slices.Contains(bad, id) }))
}

// backdate makes all reports older by d than they are.
func backdate(b *Book, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.epoch = b.epoch.Add(-d)
}

// wantReports checks which pods have reported.
func wantReports(t *testing.T, b *Book, want []string) {
	t.Helper()
	var got []string
	for _, p := range b.Peers(config.WeightConnections, "127.0.0.1") {
		got = append(got, p.Pod)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("reports of %v, want of %v", got, want)
	}
}

// Queries for keys withstand the same.
func TestFaultyAnswersToQueries(t *testing.T) {
	var sent atomic.Int64
	for name, f := range faults(t, &sent) {
		if f.why == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			m := &moody{name: name, fault: f.fault}
			m.bad.Store(true)
			at, _ := serveAt(t, "127.0.0.2", 0, m)
			b := asker(t, nil, podAt(name, at))
			counts, _, err := b.askKeys(t.Context(), targetOf(b, "127.0.0.2"), []string{"k"})
			if counts != nil || peerz.ClassOf(err) != f.why {
				t.Errorf("counts %v, %v", counts, err)
			}
			wantErrors(t, b, map[string]uint64{f.why: 1})
		})
	}
}

// One pod does not listen, and the other does not exist.
func TestPeersThatAreGone(t *testing.T) {
	at, stop := serveAt(t, "127.0.0.2", 0, telling(peerz.Report{Pod: "b"}))
	stop()
	b := asker(t, nil, podAt("b", at), podAt("c", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), at.Port())))
	b.poll(t.Context())
	wantErrors(t, b, map[string]uint64{peerz.Refused: 2})
}
