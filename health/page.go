package health

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the page's template and style
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/shown"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

const (
	// refreshSeconds is the time between two reloads of the page. A meta refresh needs no
	// script. The link ?pause turns it off, for screen readers and for copying text.
	refreshSeconds = 5
	// maxPeerRows bounds the page: nobody reads a table of thousands.
	maxPeerRows = 200
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
		"clock":  func(t time.Time) string { return t.UTC().Format(time.TimeOnly) },
		"stamp":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"moment": newMoment,
		"tone":   severityTone,
	}).Parse(pageHTML))

	pagePolicy = basePolicy + "; img-src data:; style-src '" + styleHash(pageCSS) + "'"
)

// styleHash identifies the one style sheet that the policy allows. Injected text could not
// bring its own.
func styleHash(css string) string {
	sum := sha256.Sum256([]byte(css))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// page serves the page for people.
func page(src source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		data := newPageData(look(src), time.Now(), !r.URL.Query().Has("pause"))
		if err := pageTemplate.Execute(&b, data); err != nil {
			http.Error(w, "cannot render the page: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", pagePolicy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = b.WriteTo(w) // an error means that the client is gone
	})
}

// pageData is what the template shows.
type pageData struct {
	Now     time.Time
	Refresh int // seconds, 0: paused
	Style   template.CSS
	Status  rebalance.Status

	Verdict, Why, Tone string
	Facts              []fact
	Peers              []peerRow
	Zoned              bool    // the zone of a peer is known
	Judged             bool    // the verdict of another pod is known
	Columns            int     // of the table of pods
	Hidden             int     // peers beyond maxPeerRows
	Unit               string  // of the loads, "" if they count connections
	Shares             bool    // pods should carry different loads; bars and mean are per share
	Band               string  // the loads between which a pod is left alone
	Mean               string  // of the loads, "" if unknown
	MeanAt             float64 // position of the mean in the bars, in percent
	GoAways, Closed    []tally
	PeerErrors         []tally
	Decisions          []rebalance.Decision // latest first
}

type (
	fact   struct{ Name, Value, Note string }
	tally  struct{ Label, Count, Meaning string }
	moment struct {
		At         time.Time
		Clock, Ago string
	}
	peerRow struct {
		Name, Address, Zone string
		State, Tone         string
		Verdict             string
		VerdictTone         string
		More                string // why the pod is silent, or its verdict another than this pod's
		Self, Known         bool
		Connections         string
		Load, Share         string
		Delta               string  // from the mean
		Width               float64 // of the bar, in percent
	}
)

func newPageData(st rebalance.Status, now time.Time, refresh bool) pageData {
	d := pageData{
		Now:        now,
		Style:      template.CSS(pageCSS), //nolint:gosec // a constant of this package
		Status:     st,
		Verdict:    verdictWord(st),
		Why:        cmp.Or(st.Why, "The first plan has not been made yet."),
		Tone:       verdictTone(st.Verdict),
		Facts:      facts(st),
		GoAways:    tallies(st.GoAways, shown.GoAwayReasons(), goAwayMeanings),
		Closed:     tallies(st.Closed, shown.ClosedHows(), closedMeanings),
		PeerErrors: tallies(above0(st.PeerErrors), nil, nil),
		Decisions:  latestFirst(st.Decisions),
		Band:       bandLine(st),
		Shares:     sharesDiffer(st),
	}
	if refresh {
		d.Refresh = refreshSeconds
	}
	if !byConnections(st) {
		d.Unit = weightUnit(st)
	}
	d.setPeers(st)
	return d
}

// newMoment adds the date once the time of day alone would mislead.
func newMoment(now, at time.Time) moment {
	layout := time.TimeOnly
	if now.Sub(at) > 12*time.Hour {
		layout = time.DateTime
	}
	return moment{at, at.UTC().Format(layout), ago(now, at)}
}

func facts(st rebalance.Status) []fact {
	draining := ""
	if st.Draining > 0 {
		draining = strconv.Itoa(st.Draining) + " draining"
	}
	out := []fact{
		{"Connections", strconv.Itoa(st.Connections), draining},
		{"Clients", strconv.Itoa(st.Keys), ""},
		{"Streams in flight", strconv.Itoa(st.Streams), ""},
		{"Pods ready", strconv.Itoa(shown.ReadyPeers(st.Peers)), fmt.Sprintf("of %d", len(st.Peers))},
		{"Up", cmp.Or(st.Uptime, "?"), ""},
	}
	if sharesDiffer(st) {
		out = append(out, fact{"Share", figure(shareOr1(st.Share)), shareNote(st)})
	}
	return out
}

// columns is how many columns the table of pods has.
func (d *pageData) columns() int {
	n := 6
	for _, more := range []bool{d.Zoned, d.Judged, d.Unit != "", d.Shares} {
		if more {
			n++
		}
	}
	return n
}

// setPeers fills the table of pods. It sorts by name, since rows that move with each refresh
// cannot be read. Pods that do not answer come last: what they carry is of the past.
func (d *pageData) setPeers(st rebalance.Status) {
	peers := slices.SortedFunc(slices.Values(st.Peers), func(a, b rebalance.PeerStatus) int {
		return cmp.Or(cmp.Compare(silent(a), silent(b)), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Address, b.Address))
	})
	fullest := 0.0
	for _, p := range peers {
		load, _ := shownLoad(p, st)
		fullest = max(fullest, load/shareOr1(p.Share))
	}
	if mean := st.MeanLoad / shareOr1(st.Share); mean > 0 {
		d.Mean = figure(mean)
		d.MeanAt = percent(mean, fullest)
	}
	if len(peers) > maxPeerRows {
		d.Hidden = len(peers) - maxPeerRows
		peers = peers[:maxPeerRows]
	}
	d.Zoned, d.Judged = zoned(peers), judged(peers)
	d.Columns = d.columns()
	for _, p := range peers {
		d.Peers = append(d.Peers, newPeerRow(p, st, fullest))
	}
}

// shownLoad returns the load of a pod's bar, and whether it is known. Pods that do not
// report loads still report their connections.
func shownLoad(p rebalance.PeerStatus, st rebalance.Status) (load float64, known bool) {
	switch {
	case p.Error != "":
		return 0, false
	case p.Load != nil:
		return *p.Load, true
	case byConnections(st):
		return float64(p.Connections), true
	}
	return 0, false
}

// silent is 1 for a pod that does not answer.
func silent(p rebalance.PeerStatus) int {
	if p.Error != "" {
		return 1
	}
	return 0
}

// judged reports whether another pod has told its verdict.
func judged(peers []rebalance.PeerStatus) bool {
	return slices.ContainsFunc(peers, func(p rebalance.PeerStatus) bool { return p.Verdict != "" && !p.Self })
}

// peerWord is the state of a pod in a narrow column. peerMore has the error itself.
func peerWord(p rebalance.PeerStatus) string {
	if p.Error != "" {
		return "no answer"
	}
	return peerState(p)
}

// peerMore is what a line of its own says below a pod: the error, or the reason for its verdict
// where that is another than the one at the head of the page.
func peerMore(p rebalance.PeerStatus, st rebalance.Status) string {
	switch {
	case p.Error != "":
		return p.Error
	case p.Self || p.Why == "" || p.Why == st.Why:
		return ""
	}
	return p.Why
}

// newPeerRow compares loads per share. Without shares these are the loads.
func newPeerRow(p rebalance.PeerStatus, st rebalance.Status, fullest float64) peerRow {
	row := peerRow{
		Name:        cmp.Or(p.Pod, p.Address),
		Address:     p.Address,
		Zone:        p.Zone,
		State:       peerWord(p),
		Tone:        "warn",
		Verdict:     string(p.Verdict),
		VerdictTone: verdictTone(p.Verdict),
		More:        peerMore(p, st),
		Self:        p.Self,
		Connections: peerCount(p),
		Load:        peerLoad(p),
		Share:       peerShare(p),
	}
	load, known := shownLoad(p, st)
	load /= shareOr1(p.Share)
	row.Known, row.Width = known, percent(load, fullest)
	if p.Error == "" && p.Ready {
		row.Tone = "good"
		if known {
			row.Delta = delta(load, st.MeanLoad/shareOr1(st.Share))
		}
	}
	return row
}

// delta formats how far n is from the mean, such as "+12 %".
func delta(n, mean float64) string {
	if mean == 0 {
		return ""
	}
	return fmt.Sprintf("%+.0f %%", (n/mean-1)*100)
}

func percent(n, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(max(n/whole*100, 0), 100)
}

// latestFirst sorts the records, whichever order they come in.
func latestFirst(ds []rebalance.Decision) []rebalance.Decision {
	return slices.SortedStableFunc(slices.Values(ds), func(a, b rebalance.Decision) int {
		return b.At.Compare(a.At)
	})
}

var (
	goAwayMeanings = map[string]string{
		"reach":      "multi-homed clients that need to know new pods",
		"even":       "moved from a fuller pod to an emptier one",
		"age":        "older than policy.maxConnectionAge, the backstop",
		"expiry":     "the client's certificate expires (policy.closeAtExpiry)",
		"overload":   "shed because this pod is overloaded",
		"shutdown":   "this pod is stopping",
		"evacuation": "this pod is out of its Service, and drains",
		"manual":     "requested by a handler or an operator",
		"server":     "sent by gRPC itself",
	}
	closedMeanings = map[string]string{
		"clean":  "drained, all RPCs finished; closed by this pod or by the client",
		"forced": "grace period expired; RPCs in flight failed",
		"client": "closed by the client without a drain, or lost",
		"server": "closed by gRPC itself",
	}
)

// tallies lists the known labels in the order given, then the others by name.
func tallies(by map[string]uint64, known []string, meanings map[string]string) []tally {
	var out []tally
	add := func(label string) {
		out = append(out, tally{label, strconv.FormatUint(by[label], 10), meanings[label]})
	}
	for _, label := range known {
		add(label)
	}
	for _, label := range slices.Sorted(maps.Keys(by)) {
		if !slices.Contains(known, label) {
			add(label)
		}
	}
	return out
}

// above0 leaves out errors that have not happened.
func above0(by map[string]uint64) map[string]uint64 {
	maps.DeleteFunc(by, func(_ string, n uint64) bool { return n == 0 })
	return by
}

// verdictTone returns the style of a verdict. The page never shows it without the word.
func verdictTone(v rebalance.Verdict) string {
	switch v {
	case rebalance.Balanced:
		return "good"
	case rebalance.Moving, rebalance.Checking, rebalance.Waiting, rebalance.OutOfService:
		return "busy"
	case rebalance.Unbalanceable, rebalance.Stale, rebalance.Overloaded:
		return "warn"
	default:
		return "calm"
	}
}

func severityTone(s rebalance.Severity) string {
	switch s {
	case rebalance.Error:
		return "bad"
	case rebalance.Warning:
		return "warn"
	default:
		return "calm"
	}
}
