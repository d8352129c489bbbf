package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// twoRows is the state after three slices.
func twoRows() *state {
	st := &state{Seconds: 5400}
	st.begin("abc")
	lossy := row{Name: "C++ round_robin", Why: "the library gives up | drops streams"}
	st.add(lossy, time.Hour, slice{
		Version: "1.51.1", Calls: 4_000_000, Failed: 6, GoAways: 5400,
		Errors: map[string]int{"chat: 127.0.4.1:4711 closed stream ID 5": 4, "chat: 127.0.4.2:4712 closed stream ID 17": 2},
	})
	st.begin("def")
	st.add(row{Name: "grpc-go"}, time.Minute, slice{Version: "1.85.0", Calls: 120_000, GoAways: 90})
	st.add(row{Name: "grpc-go"}, time.Minute, slice{Version: "1.86.0", Calls: 130_000, GoAways: 90, Broken: "got 1 open socket"})
	st.Rows["grpc-go"].Breaches[0].Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return st
}

func TestStateIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "soak.json")
	empty, err := load(path)
	if err != nil || empty.sum().Calls != 0 {
		t.Fatalf("got %+v, %v, want an empty state", empty, err)
	}
	if err := twoRows().save(path); err != nil {
		t.Fatal(err)
	}
	got, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.markdown() != twoRows().markdown() {
		t.Errorf("got\n%s\nwant\n%s", got.markdown(), twoRows().markdown())
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("got %v beside the state, want nothing", left)
	}
}

func TestBrokenStateIsNotOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "soak.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(path); err == nil || !strings.Contains(err.Error(), "RESET=1 starts again") {
		t.Errorf("got %v, want an error that names the cure", err)
	}
}

func TestSecondSoakIsKeptAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "soak.json")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); err == nil || !strings.Contains(err.Error(), "another soak is running") {
		t.Errorf("got %v, want the error of a second soak", err)
	}
	unlock()
	unlock, err = lock(path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestErrorsAreBounded(t *testing.T) {
	st := &state{}
	st.begin("abc")
	for i := range 100 {
		st.add(row{Name: "x"}, time.Minute, slice{Failed: 1, Errors: map[string]int{"call " + strconv.Itoa(i): 1}})
	}
	if got := st.Rows["x"].Errors; len(got) != maxErrors+1 || got[manyMore] != 100-maxErrors {
		t.Errorf("got %d texts, %d of other errors, want %d and %d", len(got), got[manyMore], maxErrors+1, 100-maxErrors)
	}
}

func TestTable(t *testing.T) {
	page := filepath.Join(t.TempDir(), "soak.md")
	if err := os.WriteFile(page, []byte("# Soak\n"+tableBegin+"old\n"+tableEnd+"more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeTable(page, twoRows()); err != nil {
		t.Fatal(err)
	}
	want := `# Soak
<!-- soak -->
4,250,000 calls of 2 rows in 1.50 hours, 5,580 GOAWAYs. 6 calls failed, 1.41 in a million. Slices that broke a limit: 1.

| client | version | calls | hours | GOAWAYs | failed | failed per million | calls may fail because |
|---|---|---|---|---|---|---|---|
| C++ round_robin | 1.51.1 | 4,000,000 | 1.00 | 5,400 | 6 | 1.50 | the library gives up \| drops streams |
| grpc-go | 1.85.0, 1.86.0 | 250,000 | 0.03 | 180 | 0 | 0 |  |
| rows that may lose none |  | 250,000 | 0.03 | 180 | 0 | 0 |  |
| in all |  | 4,250,000 | 1.03 | 5,580 | 6 | 1.41 |  |

| client | failed | error |
|---|---|---|
| C++ round_robin | 6 | chat: ADDRESS closed stream ID N |

| slice that broke a limit | time (UTC) | commit | what the test said |
|---|---|---|---|
| grpc-go | 2026-01-02 03:04:05 | def | got 1 open socket |

| commit | calls |
|---|---|
| abc | 4,000,000 |
| def | 250,000 |
<!-- /soak -->
more
`
	if got, _ := os.ReadFile(page); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPageWithoutMarksIsLeftAlone(t *testing.T) {
	page := filepath.Join(t.TempDir(), "soak.md")
	if err := os.WriteFile(page, []byte("# Soak\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeTable(page, twoRows()); err == nil || !strings.Contains(err.Error(), "has no lines") {
		t.Errorf("got %v, want an error that names the lines", err)
	}
}
