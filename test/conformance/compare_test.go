package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// events writes what `go test -json` prints: one "outcome package test" a line.
func events(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		f := append(strings.Fields(line), "")
		fmt.Fprintf(&b, "{\"Action\":%q,\"Package\":%q,\"Test\":%q}\n", f[0], f[1], f[2])
	}
	return b.String()
}

func read(t *testing.T, lines ...string) *outcomes {
	t.Helper()
	o, err := readEvents(strings.NewReader(events(lines...)))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Of a tree of tests the leaves count, and what fails although nothing below it does.
func TestReadEvents(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"leaves": {
			[]string{"run p Test", "run p Test/A", "pass p Test/A", "run p Test/B", "skip p Test/B", "pass p Test", "pass p"},
			"p Test/A=pass p Test/B=skip",
		},
		"a leaf fails": {
			[]string{"run p Test", "run p Test/A", "fail p Test/A", "fail p Test", "fail p"},
			"p Test/A=fail",
		},
		"only the parent fails": {
			[]string{"run p Test", "run p Test/A", "pass p Test/A", "fail p Test", "fail p"},
			"p Test/A=pass p Test=fail",
		},
		"a panic": {
			[]string{"run p Test", "run p Test/A", "pass p Test/A", "run p Test/B", "fail p"},
			"p Test/A=pass p Test/B=fail",
		},
		"the package alone fails": {
			[]string{"run p Test", "pass p Test", "fail p"},
			"p (the package as a whole)=fail p Test=pass",
		},
		"two packages": {
			[]string{"run p Test", "run q Test", "fail q Test", "pass p Test", "pass p", "fail q"},
			"p Test=pass q Test=fail",
		},
		"no tests": {[]string{"skip p"}, ""},
	} {
		var got []string
		for id, outcome := range read(t, c.lines...).tests {
			got = append(got, id.String()+"="+outcome)
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: got %q, want %q", name, text, c.want)
		}
	}
}

// A build that fails is no result of a test.
func TestReadEventsOfFailedBuild(t *testing.T) {
	const lines = `{"Action":"build-output","ImportPath":"p","Output":"x.go:1: undefined: y\n"}
{"Action":"build-fail","ImportPath":"p"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`
	if _, err := readEvents(strings.NewReader(lines)); err == nil || !strings.Contains(err.Error(), "undefined: y") {
		t.Errorf("got %v, want an error with the compiler's words", err)
	}
}

// compared is one test, its outcomes in the first runs and in the repetitions, bare before tracked.
type compared struct {
	first   [2]string
	repeats []string
	want    string // different, flaky or same
}

func TestDifferences(t *testing.T) {
	for _, c := range []compared{
		{first: [2]string{"pass", "pass"}, want: "same"},
		{first: [2]string{"fail", "fail"}, want: "same"},
		{first: [2]string{"fail", "pass"}, want: "same"},
		{first: [2]string{"skip", "skip"}, want: "same"},
		{first: [2]string{"pass", "fail"}, want: "different"},
		{first: [2]string{"pass", "skip"}, want: "different"},
		{first: [2]string{"pass", ""}, want: "different"},
		{first: [2]string{"", "fail"}, want: "different"},
		{first: [2]string{"pass", "fail"}, repeats: []string{"pass fail", "pass fail"}, want: "different"},
		{first: [2]string{"pass", "fail"}, repeats: []string{"pass fail", "pass pass"}, want: "flaky"},
		{first: [2]string{"pass", "fail"}, repeats: []string{"fail fail"}, want: "flaky"},
	} {
		id := testID{"p", "Test/A"}
		cmp := &comparison{both: map[serverKind]*outcomes{bare: read(t, "pass p"), tracked: read(t, "pass p")}}
		for i, kind := range []serverKind{bare, tracked} {
			if c.first[i] != "" {
				cmp.both[kind].tests[id] = c.first[i]
			}
		}
		for _, r := range c.repeats {
			b, tr, _ := strings.Cut(r, " ")
			cmp.note(id, map[serverKind]*outcomes{
				bare: read(t, "run p Test/A", b+" p Test/A", b+" p"), tracked: read(t, "run p Test/A", tr+" p Test/A", tr+" p"),
			})
		}
		got := "same"
		switch different, flaky, _ := cmp.differences(); {
		case len(different) > 0:
			got = "different"
		case len(flaky) > 0:
			got = "flaky"
		}
		if got != c.want {
			t.Errorf("%v: got %s, want %s", c, got, c.want)
		}
	}
}

// A run that tracks nothing, or in which bare servers fail, must not pass.
func TestWorthless(t *testing.T) {
	good := []string{"run p Test", "pass p Test", "pass p"}
	bad := []string{"run p Test", "fail p Test", "fail p"}
	for name, c := range map[string]struct {
		bare        []string
		connections map[string]uint64
		all         bool
		want        string
	}{
		"tracked":              {good, map[string]uint64{"p": 3}, false, ""},
		"not tracked":          {good, nil, false, "no connection was tracked; p: no connection was tracked"},
		"another package":      {good, map[string]uint64{"q": 3}, false, "p: no connection was tracked"},
		"one of all":           {good, map[string]uint64{"q": 3}, true, ""},
		"bare servers fail":    {bad, map[string]uint64{"p": 3}, false, "p: 1 of its tests fail on bare servers"},
		"none of all packages": {good, nil, true, "no connection was tracked"},
	} {
		cmp := &comparison{
			both:        map[serverKind]*outcomes{bare: read(t, c.bare...), tracked: read(t, good...)},
			connections: c.connections, all: c.all,
		}
		if got := strings.Join(cmp.worthless(), "; "); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if got := cmp.print(t.Output()); got != (c.want == "") {
			t.Errorf("%s: print returned %v", name, got)
		}
	}
}

// A case of h2spec agrees as soon as a tracked server does what a bare one did at some time.
func TestH2SpecDifferent(t *testing.T) {
	c := h2cases{
		bare:    {"same": {"pass"}, "differs": {"pass"}, "races": {"fail: reset"}, "missing": {"pass"}},
		tracked: {"same": {"pass"}, "differs": {"fail: x"}, "races": {"fail: closed"}, "more": {"pass"}},
	}
	if got, want := fmt.Sprint(c.different()), "[differs missing more races]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c.merge(h2cases{bare: {"races": {"fail: closed"}, "differs": {"pass"}}, tracked: {"races": {"fail: closed"}, "differs": {"fail: y"}}})
	if got, want := fmt.Sprint(c.different(), c.racing()), "[differs missing more] [races]"; got != want {
		t.Errorf("after a repetition: got %s, want %s", got, want)
	}
}

// An overlay that no longer fits grpc-go is an error, not a run that tracks nothing.
func TestPatch(t *testing.T) {
	const source = "package transport\n" + anchor + "\tvar authInfo credentials.AuthInfo\n}\n"
	if got, err := patch(source); err != nil || !strings.Contains(got, anchor+inserted) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, other := range []string{"package transport\n", source + source} {
		if _, err := patch(other); err == nil || !strings.Contains(err.Error(), "overlay.go") {
			t.Errorf("got %v, want an error with the cure", err)
		}
	}
}

// The same holds for the overlay of connect's server.
func TestWebHooks(t *testing.T) {
	dir := t.TempDir()
	if _, err := webHooks(dir); err == nil {
		t.Error("no error without a server.go")
	}
	file := filepath.Join(dir, webPackage, "server.go")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"package referenceserver\n" + webAnchor + "\treturn nil\n}\n": "",
		"package referenceserver\n":                                   "overlay.go",
	} {
		if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		files, err := webHooks(dir)
		switch {
		case want == "" && (err != nil || !strings.Contains(files[file], webAnchor+webInserted) || len(files) != 3):
			t.Errorf("got %q, %v", files, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("got %v, want an error with the cure", err)
		}
	}
}

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"-parts suites,nothing": "nothing",
		"-unknown":              "-unknown",
	} {
		var out strings.Builder
		if _, err := parse(strings.Fields(args), &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", args, err, want)
		}
	}
}
