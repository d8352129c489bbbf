package health

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// fleetStatus is a fleet of n with what is long on a real page: every eighth pod is silent, with the
// error of a dial, and decisions have sentences.
func fleetStatus(n int, now time.Time) rebalance.Status {
	st := sampleStatus(now)
	st.Pod, st.Peers = "hello-7d4b9c6f5-aaa00", nil
	st.Why = "reach: this pod drains 12 of 112 connections within 1s, the others wait for the end of the growth"
	for i := range n {
		p := rebalance.PeerStatus{
			Pod: fmt.Sprintf("hello-7d4b9c6f5-aaa%02d", i), Address: fmt.Sprintf("10.244.%d.%d:8080", i/4, 100+i), Zone: "eu-central-1a",
			Ready: true, Connections: 40 + i, Load: carries(float64(40 + i)), Share: 1, Self: i == 0, Verdict: rebalance.Checking, Why: st.Why,
		}
		if i%8 == 1 {
			p.Ready, p.Age = false, 41
			p.Error = fmt.Sprintf(`Get "http://%s/peerz": dial tcp %s: connect: no route to host`, p.Address, p.Address)
		}
		if i%8 == 2 {
			p.Verdict, p.Why = rebalance.Unbalanceable, "connections return to pods on their client's node (internalTrafficPolicy: Local): set it to Cluster, or run the same number of pods on each node"
		}
		st.Peers = append(st.Peers, p)
	}
	st.Decisions = []rebalance.Decision{
		{At: now.Add(-3 * time.Second), Action: "reach", Count: 12, Why: "owner of 12 channels of multi-homed clients; DNS listed all pods 3 times in a row"},
		{At: now.Add(-33 * time.Hour), Action: "configured", Why: "a changed configuration is in force"},
		{At: now.Add(-43 * time.Hour), Action: "wait", Why: "DNS lists 3 of 5 pods: hello-headless.shop.svc.cluster.local. lists 10.244.0.100, 10.244.0.101, 10.244.0.102"},
		{At: now.Add(-50 * time.Hour), Action: "unbalanceable", Count: 1200, Why: "connections return to pods on their client's node"},
	}
	return st
}

// layout is what a browser measures in a page.
type layout struct {
	Overflow int      // pixels by which the page is wider than its window
	Broken   []string // words that are broken, though they would fit into a line of their own
	Tallest  float64  // lines of the tallest row of the table of pods
	Widest   int      // pixels by which the widest table is wider than its box
}

// measure runs in the browser. A word is broken if its letters are on more than one line.
const measure = `
const doc = frames[0].document, out = {Overflow: doc.documentElement.scrollWidth - doc.documentElement.clientWidth, Broken: [], Tallest: 0, Widest: 0};
const walker = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (node.parentElement.closest('.hidden')) continue;
  // Between hyphens a break is as good as between words.
  for (const m of node.data.matchAll(/[^\s-]+/g)) {
    const range = doc.createRange();
    range.setStart(node, m.index);
    range.setEnd(node, m.index + m[0].length);
    const tops = new Set([...range.getClientRects()].filter(r => r.width > 0).map(r => Math.round(r.top)));
    if (tops.size > 1 && /^[\w.,:;()'%]{1,24}$/.test(m[0])) out.Broken.push(m[0]);
  }
}
for (const row of doc.querySelectorAll('.peers tbody tr'))
  out.Tallest = Math.max(out.Tallest, row.getBoundingClientRect().height / parseFloat(getComputedStyle(row.cells[0]).lineHeight));
for (const box of doc.querySelectorAll('.scroll')) out.Widest = Math.max(out.Widest, box.scrollWidth - box.clientWidth);
document.title = JSON.stringify(out);
`

// measured shows a page in Chromium, in a window of that width, and returns what it measures. If
// $LAYOUT_SHOTS names a folder, it has a picture of each.
func measured(t *testing.T, chromium, page string, width int, name string) (out layout) {
	t.Helper()
	dir := t.TempDir()
	outer := fmt.Sprintf(`<!doctype html><body style="margin:0"><iframe width=%d height=2400 style="border:0" srcdoc="%s"></iframe>
		<script>onload = () => { try { %s } catch (e) { document.title = e } }</script>`, width, html.EscapeString(page), measure)
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, []byte(outer), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + dir, fmt.Sprintf("--window-size=%d,2400", width)}
	if shots := os.Getenv("LAYOUT_SHOTS"); shots != "" {
		_ = exec.Command(chromium, append(args, "--screenshot="+filepath.Join(shots, name+".png"), "file://"+file)...).Run()
	}
	dom, err := exec.Command(chromium, append(args, "--dump-dom", "file://"+file)...).Output()
	_, rest, _ := strings.Cut(string(dom), "<title>")
	title, _, ok := strings.Cut(rest, "</title>")
	if err != nil || !ok {
		t.Fatalf("chromium: %v", err)
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(title)), &out); err != nil {
		t.Fatalf("%v in %q", err, title)
	}
	return out
}

// The page can be read on a telephone, a tablet and a screen, with few pods and with many.
func TestLayout(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is missing (Debian: apt-get install chromium)")
	}
	for _, pods := range []int{3, 25} {
		page := pageOf(t, fleetStatus(pods, time.Now()), "/?pause")
		for _, width := range []int{390, 800, 1400} {
			name := fmt.Sprintf("%d-%d", pods, width)
			t.Run(name, func(t *testing.T) {
				l := measured(t, chromium, page, width, name)
				if l.Overflow > 0 || len(l.Broken) > 0 || l.Tallest >= 5 || l.Widest > 0 {
					t.Errorf("got %+v, want no page or table wider than its window, no broken word, and no row of five lines", l)
				}
			})
		}
	}
}
