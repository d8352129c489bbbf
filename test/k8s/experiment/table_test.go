package experiment

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	figures := measured(t, growing())
	got := Table([]Result{
		{Title: "evenkeel", Channels: 6, ByDNS: true, Figures: figures},
		{Title: "another", Channels: 3, Figures: figures},
	})
	for _, want := range []string{
		"| | evenkeel | another |\n|---|---|---|\n",
		"| 2 to 5: even, from the last ready endpoint | 3.5 s | 3.5 s |\n",
		"| 2 to 5: even, from DNS in full and resolvers that may ask | 1.0 s | - |\n",
		"| 2 to 5: GOAWAYs per channel | 1.00 | 2.00 |\n",
		"| 2 to 5: failed RPCs | 0 of ",
		"| at rest: connections made in an hour | 0 | 0 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the table lacks %q:\n%s", want, got)
		}
	}
}

func TestStaggerTable(t *testing.T) {
	got := StaggerTable([]Result{{Title: "evenkeel, 3s apart", Channels: 6, ByDNS: true, Figures: measured(t, growing())}})
	want := "| evenkeel, 3s apart | 3.5 s | 1.00 | 0 of "
	if !strings.Contains(got, want) {
		t.Errorf("the table lacks %q:\n%s", want, got)
	}
}

func TestSingleHomedTable(t *testing.T) {
	s, err := MeasureSingleHomed(growing().log.Records(), "f", 20)
	if err != nil {
		t.Fatal(err)
	}
	got := SingleHomedTable([]SingleHomedResult{{Title: "a", Connections: 20, SingleHomed: s}, {Title: "b", Connections: 60, SingleHomed: s}})
	for _, want := range []string{
		"| 2 to 5 | a | b |\n|---|---|---|\n",
		"| connections per pod at the end | 4, 4, 4, 4, 4 | 4, 4, 4, 4, 4 |\n",
		"| GOAWAYs per connection | 0.30 | 0.10 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the table lacks %q:\n%s", want, got)
		}
	}
}

func TestWriteBetween(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("a\n<!-- x -->\nold\n<!-- /x -->\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteBetween(file, "x", "new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if want := "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := WriteBetween(file, "y", ""); err == nil {
		t.Error("got no error for a mark that the file lacks")
	}
}
