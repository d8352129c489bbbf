package demo

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

func someState() snapshot {
	return snapshot{
		Seconds: 12, Phase: "2 to 5", Events: []event{{1, "begun"}},
		Columns: []columnView{{
			Title: "with evenkeel", GoAways: 20, Opened: 60, Even: 1.02, Why: strings.Repeat("because ", 50),
			Pods: []podView{{Name: "pod-1", PerSecond: 80, Verdict: "balanced"}, {Name: "pod-2", PerSecond: 40}},
		}, {Title: "with nothing"}},
	}
}

// Nothing is wider than the terminal, however narrow.
func TestRenderFits(t *testing.T) {
	for _, width := range []int{0, 1, 40, 80, 200} {
		got := render(someState(), width)
		if !strings.Contains(got, "pod-1") || !utf8.ValidString(got) {
			t.Errorf("width %d: %q", width, got)
		}
		full := strings.Count(got, "█")
		if most := max(0, max(width, 0)-podColumn) * 3 / 2; width > 0 && full > most {
			t.Errorf("width %d: %d blocks, want at most %d", width, full, most)
		}
	}
}

func TestPage(t *testing.T) {
	b := newBoard()
	b.columns = []*column{newColumn(&options{}, withEvenkeel, ports{}, nil, b.sayf)}
	b.sayf("something %s", "happened")
	p, err := servePage(t.Context(), "127.0.0.1:0", b)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	html := fetch(t, p.url)
	if strings.Contains(html, "http://") || strings.Contains(html, "https://") || !strings.Contains(html, "<svg") {
		t.Error("the page has no drawing, or loads something from elsewhere")
	}
	var s snapshot
	if err := json.Unmarshal([]byte(fetch(t, p.url+"state")), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Columns) != 1 || len(s.Events) != 1 || s.Events[0].Text != "something happened" {
		t.Errorf("state %+v", s)
	}
	// The next one passes over the port that is taken.
	other, err := servePage(t.Context(), strings.TrimSuffix(strings.TrimPrefix(p.url, "http://"), "/"), b)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if other.url == p.url {
		t.Errorf("both at %s", p.url)
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
