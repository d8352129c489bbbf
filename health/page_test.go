package health

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"golang.org/x/net/html"
)

// everywhere returns a Status with s in all its texts. The letter before it keeps them from
// being empty, since empty texts are shown differently.
func everywhere(s string) rebalance.Status {
	s = "x" + s
	st := sampleStatus(epoch)
	st.Pod, st.Why, st.Source, st.Uptime, st.Verdict, st.Weight = s, s, s, s, rebalance.Verdict(s), s
	for i := range st.Peers {
		st.Peers[i].Pod, st.Peers[i].Address = s, s
		st.Peers[i].Verdict, st.Peers[i].Why = rebalance.Verdict(s), s+"y" // not the sentence at the head
	}
	st.Peers[4].Error = s
	for i := range st.Conditions {
		st.Conditions[i].Code, st.Conditions[i].Severity, st.Conditions[i].Text = s, rebalance.Severity(s), s
	}
	for i := range st.Decisions {
		st.Decisions[i].Action, st.Decisions[i].Why = s, s
	}
	st.GoAways, st.Closed, st.PeerErrors = map[string]uint64{s: 1}, map[string]uint64{s: 1}, map[string]uint64{s: 1}
	return st
}

func pageOf(t testing.TB, st rebalance.Status, path string) string {
	t.Helper()
	w := get(t, handler(t, newFake(st)), path)
	if w.Code != 200 {
		t.Fatalf("%s: got %d, want 200: %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// shape counts the tags of a page with the names of their attributes. Text that is escaped
// cannot change it.
func shape(t testing.TB, page string) map[string]int {
	t.Helper()
	out := make(map[string]int)
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return out
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			name := tok.Data
			for _, a := range tok.Attr {
				name += " " + a.Key
			}
			out[name]++
		case html.CommentToken:
			out["comment"]++
		}
	}
}

var hostile = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "' onload='x", "</style><style>*{}",
	"</title><script>", "<!-- ", "]]>", "{{.}}", "&lt;script&gt;", "javascript:alert(1)",
	"line\nbreak\r\n[+]serving ok", "\x1b[31mred\x1b[0m", "nul\x00", "bad\xff\xfe utf-8", "\u2028\u202e", `\"\n`, strings.Repeat("long", 1000),
}

func TestHostileTextIsOnlyText(t *testing.T) {
	for _, s := range hostile {
		checkHostile(t, s)
	}
}

func FuzzTextIsOnlyText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkHostile(t, s) })
}

// checkHostile shows s everywhere and checks that only text changes.
func checkHostile(t *testing.T, s string) {
	t.Helper()
	st := everywhere(s)
	page := pageOf(t, st, "/")
	if want := shape(t, pageOf(t, everywhere("plain"), "/")); !maps.Equal(shape(t, page), want) {
		t.Errorf("%q changes the tags of the page", s)
	}
	if !utf8.ValidString(page) {
		t.Errorf("%q: the page is not valid UTF-8", s)
	}
	wantLines(t, s, "/readyz?verbose")
	wantLines(t, s, "/statusz?text")
}

// wantLines checks that s adds neither lines nor control characters.
func wantLines(t *testing.T, s, path string) {
	t.Helper()
	got, plain := pageOf(t, everywhere(s), path), pageOf(t, everywhere("plain"), path)
	if strings.Count(got, "\n") != strings.Count(plain, "\n") {
		t.Errorf("%s: %q changes the number of lines:\n%s", path, s, got)
	}
	if i := strings.IndexFunc(got, func(r rune) bool { return r < ' ' && r != '\n' || r == '\u202e' }); i >= 0 {
		t.Errorf("%s: control character in %q", path, got[i:min(i+20, len(got))])
	}
}

// The policy allows exactly the style sheet of the page as html/template has written it.
func TestPolicyAllowsTheStyle(t *testing.T) {
	w := get(t, handler(t, newFake(sampleStatus(epoch))), "/")
	_, rest, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, ok := strings.Cut(rest, "</style>")
	if !ok {
		t.Fatal("the page has no style")
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "style-src '"+styleHash(style)+"'") {
		t.Errorf("got the policy %q, which does not allow the style of the page", policy)
	}
}

func TestPageLoadsNothing(t *testing.T) {
	for tag := range shape(t, pageOf(t, sampleStatus(epoch), "/")) {
		name, attrs, _ := strings.Cut(tag, " ")
		switch {
		case name == "script", name == "img", name == "iframe", name == "form":
			t.Errorf("the page has <%s>", tag)
		case strings.Contains(attrs, "src"), strings.Contains(attrs, "style"), strings.HasPrefix(attrs, "on"):
			t.Errorf("the page has <%s>", tag)
		}
	}
}

func TestPageShowsTheStatus(t *testing.T) {
	page := pageOf(t, sampleStatus(epoch), "/")
	for _, want := range []string{
		"<title>hello-7d4b9c6f5-abcde: moving", `http-equiv="refresh"`, "12 of 112 connections are moving",
		"Pass your credentials to serveropts.Options", "10.1.3.2", "timeout after 1s", "mean 87.5, over-loaded above 97, under-loaded below 61.2",
		"this pod", "DNS lists 3 of 5 pods", `datetime="2026-03-01T11:59:57Z"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %q", want)
		}
	}
}

func TestPageCanBePaused(t *testing.T) {
	if page := pageOf(t, sampleStatus(epoch), "/?pause"); strings.Contains(page, "http-equiv") {
		t.Error("a paused page reloads itself")
	}
}

func TestPageOfAStoppingPod(t *testing.T) {
	src := newFake(sampleStatus(epoch))
	src.stop()
	if page := get(t, handler(t, src), "/").Body.String(); !strings.Contains(page, `<span class="pill stop">stopping</span>`) {
		t.Error("the page does not show that the pod is stopping")
	}
}

func TestBars(t *testing.T) {
	d := newPageData(look(newFake(sampleStatus(epoch))), epoch, true)
	var got []string
	for _, r := range d.Peers {
		got = append(got, fmt.Sprintf("%s|%.0f|%s|%v", r.Connections, r.Width, r.Delta, r.Self))
	}
	want := []string{"112|100|+23 %|true", "97|90|+11 %|false", "104|96|+19 %|false", "41|38|-53 %|false", "?|0||false"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// With another weight than connections, the bars and the mean are those of the load, and the
// table shows both.
func TestLoadColumn(t *testing.T) {
	st := sampleStatus(epoch)
	st.Weight, st.Load, st.MeanLoad, st.Band = "requests", 1200, 900, rebalance.Band{Over: 990, Under: 630}
	for i, load := range []*float64{carries(1200), carries(600.25), nil, carries(0), carries(9000)} {
		st.Peers[i].Load = load
	}
	st.Peers[1].Age = 7
	d := newPageData(look(newFake(st)), epoch, true)
	var got []string
	for _, r := range d.Peers {
		got = append(got, fmt.Sprintf("%s|%s|%.0f|%s|%s|%v", r.Connections, r.Load, r.Width, r.Delta, r.Tone, r.Known))
	}
	want := []string{
		"112|1200|100|+33 %|good|true", "97|600.2, 7 s old|50|-33 %|good|true", "104|?|0||good|false",
		"41|0|0|-100 %|good|true", "0|9000|0||warn|false", // a pod that does not answer has no bar
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	const column = `<th scope="col" class="num">Load</th>`
	page := pageOf(t, st, "/")
	for _, want := range []string{column, "Load: requests per second; mean 900, over-loaded above 990, under-loaded below 630", "mean 900</td>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %q", want)
		}
	}
	if strings.Contains(pageOf(t, sampleStatus(epoch), "/"), column) {
		t.Error("the page has two columns of connections")
	}
}

// Every bar is between 0 and 100 percent, whatever the peers report.
func TestBarsOfOddFleets(t *testing.T) {
	for _, peers := range [][]rebalance.PeerStatus{
		nil,
		{{Pod: "a", Ready: true}},
		{{Pod: "a", Connections: 5}},
		{{Pod: "a", Ready: true, Connections: -5}, {Pod: "b", Ready: true, Connections: 5}},
		{{Pod: "a", Error: "gone", Connections: 9}},
		{{Pod: "a", Ready: true, Load: carries(-5)}, {Pod: "b", Ready: true, Load: carries(1e300)}},
	} {
		d := newPageData(rebalance.Status{Peers: peers, MeanLoad: 3}, epoch, true)
		for _, r := range d.Peers {
			if !(r.Width >= 0 && r.Width <= 100) || strings.Contains(r.Delta, "NaN") || strings.Contains(r.Delta, "Inf") {
				t.Errorf("%v: got the row %+v, want a width from 0 to 100 and a finite delta", peers, r)
			}
		}
		if !(d.MeanAt >= 0 && d.MeanAt <= 100) {
			t.Errorf("%v: got the mean at %v %%, want 0 to 100", peers, d.MeanAt)
		}
	}
}

func TestLargeFleetIsCut(t *testing.T) {
	var st rebalance.Status
	for i := range maxPeerRows + 7 {
		st.Peers = append(st.Peers, rebalance.PeerStatus{Pod: fmt.Sprintf("pod-%04d", i), Ready: true, Connections: 3})
	}
	page := pageOf(t, st, "/")
	if n := strings.Count(page, `<th scope="row">pod-`); n != maxPeerRows {
		t.Errorf("got %d rows, want %d", n, maxPeerRows)
	}
	if !strings.Contains(page, "and 7 more pods") {
		t.Error("the page does not show how many pods are left out")
	}
}

// Pods that do not answer come last, with what was last known of them; and only a pod that has
// another reason for its verdict than this one has a line for it.
func TestRowsOfPods(t *testing.T) {
	st := rebalance.Status{Why: "all even", Peers: []rebalance.PeerStatus{
		{Pod: "a", Error: "dial tcp 10.0.0.1:8080: connect: no route to host"},
		{Pod: "b", Error: "timeout", Connections: 41, Share: 1, Age: 33, Verdict: rebalance.Balanced, Why: "old"},
		{Pod: "c", Ready: true, Connections: 7, Verdict: rebalance.Balanced, Why: "all even"},
		{Pod: "d", Ready: true, Self: true, Verdict: rebalance.Balanced, Why: "all even"},
		{Pod: "e", Ready: true, Connections: 9, Verdict: rebalance.Unbalanceable, Why: "too few"},
	}}
	d := newPageData(st, epoch, true)
	var got []string
	for _, r := range d.Peers {
		got = append(got, strings.Join([]string{r.Name, r.State, r.Verdict, r.Connections, r.More}, "|"))
	}
	want := []string{
		"c|ready|balanced|7|", "d|ready|balanced|0|", "e|ready|unbalanceable|9|too few",
		"a|no answer||?|dial tcp 10.0.0.1:8080: connect: no route to host", "b|no answer|balanced|41, 33 s old|timeout",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	var text strings.Builder
	writeText(&text, st, epoch)
	for _, want := range []string{"LOAD  VERDICT\n", "unbalanceable\n", "41, 33 s old"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("/statusz?text lacks %q:\n%s", want, text.String())
		}
	}
}
