package health

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/shown"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// look returns the source's Status made fit to be shown.
func look(src source) rebalance.Status { return shown.Status(src.Status()) }

// oneLine replaces characters with which text from elsewhere could forge lines or control a
// terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return ' '
		}
		return r
	}, s)
}

// goodVerdict reports whether v needs no attention.
func goodVerdict(v rebalance.Verdict) bool {
	for _, info := range rebalance.VerdictTable() {
		if info.Verdict == v {
			return info.Good
		}
	}
	return true
}

// verdictWord returns the verdict, or a word in its place before the first plan.
func verdictWord(st rebalance.Status) string { return cmp.Or(string(st.Verdict), "starting") }

func verdictLine(st rebalance.Status) string {
	if st.Why == "" {
		return verdictWord(st)
	}
	return verdictWord(st) + ": " + st.Why
}

// statusz serves the Status as JSON, or as text with ?text.
func statusz(src source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		st := look(src)
		if r.URL.Query().Has("text") {
			var b bytes.Buffer
			writeText(&b, st, time.Now())
			plain(w, http.StatusOK, b.String())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(st) // an error means that the client is gone
	})
}

// writeText writes st for people at a terminal.
func writeText(w io.Writer, st rebalance.Status, now time.Time) {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	defer t.w.Flush()
	t.row("pod", fmt.Sprintf("%s, up %s, %s", st.Pod, st.Uptime, readyWord(st.Ready)))
	if st.Zone != "" {
		t.row("zone", st.Zone)
	}
	t.row("verdict", verdictLine(st))
	t.row("connections", fmt.Sprintf("%d, %d of them draining; %d since the start", st.Connections, st.Draining, st.Tracked))
	t.row("streams", strconv.Itoa(st.Streams))
	t.row("load", loadLine(st))
	shares := sharesDiffer(st)
	if shares {
		t.row("share", shareLine(st))
	}
	t.row("clients", strconv.Itoa(st.Keys))
	t.row("source", st.Source)
	t.row("goaways", countsLine(st.GoAways))
	if st.DryRun {
		t.row("planned", countsLine(st.Planned)+" (dry run)")
	}
	t.row("closed", countsLine(st.Closed))
	t.row("peer errors", countsLine(st.PeerErrors))
	t.head("CONDITION", "SEVERITY", "SINCE", "TEXT")
	for _, c := range st.Conditions {
		t.row(c.Code, string(c.Severity), ago(now, c.Since), c.Text)
	}
	t.peers(st.Peers, shares)
	t.head("WHEN", "ACTION", "COUNT", "WHY")
	for _, d := range st.Decisions {
		t.row(ago(now, d.At), d.Action, strconv.Itoa(d.Count), d.Why)
	}
}

// table aligns the columns of its rows.
type table struct{ w *tabwriter.Writer }

func (t table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = oneLine(c)
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t table) head(cells ...string) {
	fmt.Fprintln(t.w)
	t.row(cells...)
}

// peers lists the pods, with their verdicts and zones where one is known, and their shares where
// these differ.
func (t table) peers(all []rebalance.PeerStatus, shares bool) {
	zones := zoned(all)
	verdicts := judged(all)
	add := func(write func(...string), verdict, zone, share string, cells ...string) {
		if verdicts {
			cells = append(cells, verdict)
		}
		if shares {
			cells = append(cells, share)
		}
		if zones {
			cells = append(cells, zone)
		}
		write(cells...)
	}
	add(t.head, "VERDICT", "ZONE", "SHARE", "PEER", "ADDRESS", "STATE", "CONNECTIONS", "LOAD")
	for _, p := range all {
		add(t.row, string(p.Verdict), p.Zone, peerShare(p), p.Pod, p.Address, peerState(p), peerCount(p), peerLoad(p))
	}
}

// zoned reports whether any pod's zone is known.
func zoned(peers []rebalance.PeerStatus) bool {
	return slices.ContainsFunc(peers, func(p rebalance.PeerStatus) bool { return p.Zone != "" })
}

func countsLine(by map[string]uint64) string {
	parts := make([]string, 0, len(by))
	for _, label := range slices.Sorted(maps.Keys(by)) {
		if by[label] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", label, by[label]))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func readyWord(ready bool) string {
	if ready {
		return "ready"
	}
	return "stopping"
}

func peerState(p rebalance.PeerStatus) string {
	switch {
	case p.Error != "":
		return p.Error
	case p.Ready:
		return "ready"
	default:
		return "not ready"
	}
}

// reported reports whether the pod has ever answered.
func reported(p rebalance.PeerStatus) bool { return p.Share > 0 || p.Load != nil || p.Connections > 0 }

// peerCount is "?" if the number of connections is unknown. For a pod that does not answer, it is
// the last known one, with its age.
func peerCount(p rebalance.PeerStatus) string {
	switch {
	case p.Error == "":
		return strconv.Itoa(p.Connections)
	case !reported(p):
		return "?"
	case p.Age > 0:
		return fmt.Sprintf("%d, %.0f s old", p.Connections, p.Age)
	}
	return strconv.Itoa(p.Connections)
}

// peerLoad is "?" if the load is unknown. It adds the age of a report that is not fresh.
func peerLoad(p rebalance.PeerStatus) string {
	switch {
	case p.Load == nil:
		return "?"
	case p.Age > 0:
		return fmt.Sprintf("%s, %.0f s old", figure(*p.Load), p.Age)
	}
	return figure(*p.Load)
}

// figure formats a load with as many digits as a person compares.
func figure(x float64) string {
	switch abs := math.Abs(x); {
	case abs >= 1e9:
		return strconv.FormatFloat(x, 'g', 4, 64)
	case abs >= 1000 || x == math.Trunc(x):
		return strconv.FormatFloat(x, 'f', 0, 64)
	case abs >= 1:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'g', 2, 64)
	}
}

// byConnections reports whether connections are the measure of load.
func byConnections(st rebalance.Status) bool {
	return st.Weight == "" || st.Weight == config.WeightConnections
}

var weightUnits = map[string]string{
	config.WeightConnections: "connections",
	config.WeightRequests:    "requests per second",
	config.WeightStreams:     "streams in flight",
	"custom":                 "custom weight",
}

// weightUnit names the unit of the loads.
func weightUnit(st rebalance.Status) string {
	return cmp.Or(weightUnits[st.Weight], st.Weight, config.WeightConnections)
}

// loadLine shows this pod's load beside the mean and the band.
func loadLine(st rebalance.Status) string {
	return fmt.Sprintf("%s (%s); %s", figure(st.Load), weightUnit(st), bandLine(st))
}

// bandLine shows the loads between which a pod is left alone.
func bandLine(st rebalance.Status) string {
	if st.MeanLoad == 0 {
		return "no mean: too few pods have reported, or none has any load"
	}
	line := fmt.Sprintf("mean %s, over-loaded above %s", figure(st.MeanLoad), figure(st.Band.Over))
	if share := shareOr1(st.Share); sharesDiffer(st) {
		line = fmt.Sprintf("mean %s per share; with a share of %s, this pod is over-loaded above %s",
			figure(st.MeanLoad/share), figure(share), figure(st.Band.Over))
	}
	if st.Band.Under > 0 {
		line += ", under-loaded below " + figure(st.Band.Under)
	}
	return line
}

// ago returns how long before now t was, to two units at most.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := max(now.Sub(t), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds ago", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm ago", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}
