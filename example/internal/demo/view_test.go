package demo

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

func sampleSnapshot() snapshot {
	return snapshot{
		Seconds: 12, Phase: "2 to 5", Events: []event{{1, "started"}},
		Columns: []columnView{{
			Title: "with evenkeel", GoAways: 20, Opened: 60, Even: 1.02, Why: strings.Repeat("because ", 50),
			Pods: []podView{{Name: "pod-1", PerSecond: 80, Verdict: "balanced"}, {Name: "pod-2", PerSecond: 40}},
		}, {Title: "with nothing"}},
	}
}

// No bar is wider than the terminal, however narrow that is.
func TestRenderFits(t *testing.T) {
	for _, width := range []int{0, 1, 40, 80, 200} {
		got := render(sampleSnapshot(), width)
		if !strings.Contains(got, "pod-1") || !utf8.ValidString(got) {
			t.Errorf("width %d: got %q, want valid text with pod-1", width, got)
		}
		blocks := strings.Count(got, "█")
		if most := max(0, max(width, 0)-podColumn) * 3 / 2; width > 0 && blocks > most {
			t.Errorf("width %d: got %d blocks, want at most %d", width, blocks, most)
		}
	}
}

func TestPage(t *testing.T) {
	b := newBoard()
	b.columns = []*column{newColumn(&options{}, withEvenkeel, ports{}, nil, b.logf)}
	b.logf("something %s", "happened")
	p, err := servePage(t.Context(), "127.0.0.1:0", b)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	html := fetch(t, p.url)
	if strings.Contains(html, "http://") || strings.Contains(html, "https://") || !strings.Contains(html, "<svg") {
		t.Error("the page has no chart, or loads something from another host")
	}
	var s snapshot
	if err := json.Unmarshal([]byte(fetch(t, p.url+"state")), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Columns) != 1 || len(s.Events) != 1 || s.Events[0].Text != "something happened" {
		t.Errorf("got state %+v, want one fleet and one event", s)
	}
	// A second page skips the port that is taken.
	other, err := servePage(t.Context(), strings.TrimSuffix(strings.TrimPrefix(p.url, "http://"), "/"), b)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if other.url == p.url {
		t.Errorf("both pages are at %s", p.url)
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}
