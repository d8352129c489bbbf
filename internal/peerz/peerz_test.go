package peerz

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var good = Report{
	Pod: "pod-a", Ready: true, UptimeMillis: 61_000, Generation: 3,
	Connections: 40, Draining: 2, Streams: 7,
	Loads:    map[string]float64{"connections": 38, "requests": 12.5, "streams": 6.9},
	Reaching: true, Overloaded: true,
	InFlight: map[string]float64{"connections": 2}, Cores: 1.5, Share: 2, Warm: 0.25, Relief: 0.5, Paused: true,
}

// hashes returns n hashed keys.
func hashes(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = HashKey(strings.Repeat("k", i))
	}
	return keys
}

// Pods of different versions must always agree on these hashes.
func TestHashesAreTheSameEverywhere(t *testing.T) {
	for _, tc := range []struct{ salt, key, want string }{
		{"", "", "e3b0c44298fc1c149afbf4c8"},                                 // of SHA-256("")
		{"", "abc", "ba7816bf8f01cfea414140de"},                              // FIPS 180-2, appendix B.1
		{"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426"}, // RFC 4231, 4.3
	} {
		if got := NewHasher(tc.salt).Hash(tc.key); got != tc.want {
			t.Errorf("%q with %q: got %s, want %s", tc.key, tc.salt, got, tc.want)
		}
		if !validKey(tc.want) {
			t.Errorf("%s is not valid itself", tc.want)
		}
	}
	if HashKey("abc") != (Hasher{}).Hash("abc") {
		t.Error("a Hasher without salt differs from HashKey")
	}
}

func get(t *testing.T, query string, report func([]string) Report) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: Path, RawQuery: query}}
	Handler(report).ServeHTTP(w, r)
	return w
}

func TestHandlerAnswers(t *testing.T) {
	keys := hashes(3)
	var requested []string
	w := get(t, "keys="+keys[0]+","+keys[1]+","+keys[0]+"&new=x&keys="+keys[1], func(k []string) Report {
		requested = k
		rep := good
		rep.Draining = 50 // counted a moment after Connections
		rep.Keys = map[string]int{keys[0]: 4, keys[2]: 9}
		return rep
	})
	if !slices.Equal(requested, keys[:2]) {
		t.Errorf("report was called with %v, want each key once", requested)
	}
	var got Report
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := good
	want.Draining = want.Connections
	want.Keys = map[string]int{keys[0]: 4}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for name, value := range map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"} {
		if w.Header().Get(name) != value {
			t.Errorf("header %s is %q, want %q", name, w.Header().Get(name), value)
		}
	}
}

// The handler must not change the result of report, which may share it between answers.
func TestHandlerLeavesTheReportAlone(t *testing.T) {
	keys := hashes(2)
	shared := map[string]int{keys[0]: 1, keys[1]: 2}
	get(t, "", func([]string) Report { return Report{Pod: "a", Keys: shared} })
	if len(shared) != 2 {
		t.Errorf("the handler changed the map of the report: %v", shared)
	}
}

func TestHandlerRefuses(t *testing.T) {
	never := func([]string) Report { t.Error("report was called for an invalid request"); return good }
	many := strings.Join(hashes(MaxKeys+1), ",")
	for name, query := range map[string]string{
		"too many":           "keys=" + many,
		"too many, in parts": "keys=" + many[:25*300-1] + "&keys=" + many[25*300:],
		"too long a key":     "keys=" + strings.Repeat("a", MaxKeyLen+1),
		"upper case":         "keys=ABCDEF",
		"not hex":            "keys=xyz",
		"an empty key":       "keys=ab,,cd",
		"a comma":            "keys=,",
		"escapes":            "keys=%00",
		"broken":             "keys=%zz",
		"semicolon":          "keys=a;b",
		"huge":               "x=" + strings.Repeat("y", 100_000),
	} {
		w := get(t, query, never)
		if w.Code != http.StatusBadRequest || w.Body.Len() < 10 || w.Body.Len() > 500 {
			t.Errorf("%s: %d %q", name, w.Code, w.Body)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := httptest.NewRecorder()
		Handler(never).ServeHTTP(w, httptest.NewRequest(method, Path, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestDecodeToleratesOtherVersions(t *testing.T) {
	body := `{"pod":"a","ready":true,"uptimeMillis":5,"connections":7,"new":{"x":[1,2]},"keys":null,
		"loads":{"connections":3,"a weight of later":1e15}}`
	got, err := decode([]byte(body), nil)
	loads := map[string]float64{"connections": 3, "a weight of later": 1e15}
	if want := (Report{Pod: "a", Ready: true, UptimeMillis: 5, Connections: 7, Loads: loads}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	key := HashKey("k")
	change := func(f func(*Report)) string {
		rep := good
		f(&rep)
		body, err := json.Marshal(rep)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for _, tc := range []struct{ class, body string }{
		{JSON, ""},
		{JSON, "<html>"},
		{JSON, `{"pod":"a"`},
		{JSON, `{"pod":"a"} x`},
		{JSON, `[]`},
		{JSON, `{"pod":1}`},
		{JSON, `{"connections":NaN}`},
		{JSON, `{"connections":1e99}`},
		{JSON, `{"connections":1.5}`},
		{JSON, strings.Repeat("[", 20_000)},
		{Nonsense, `null`},
		{Nonsense, `{}`},
		{Nonsense, `{"pod":"a","ready":true,"uptimeMillis":5}`},
		{Nonsense, `{"pod":"a","ready":null,"uptimeMillis":5,"connections":1}`},
		{Nonsense, change(func(r *Report) { r.Pod = "" })},
		{Nonsense, change(func(r *Report) { r.Pod = strings.Repeat("x", 254) })},
		{Nonsense, change(func(r *Report) { r.Pod = "a\nb" })},
		{Nonsense, change(func(r *Report) { r.UptimeMillis = -1 })},
		{Nonsense, change(func(r *Report) { r.UptimeMillis = math.MaxInt64 })},
		{Nonsense, change(func(r *Report) { r.Connections = -1 })},
		{Nonsense, change(func(r *Report) { r.Connections = 10_000_001 })},
		{Nonsense, change(func(r *Report) { r.Draining = -1 })},
		{Nonsense, change(func(r *Report) { r.Draining = r.Connections + 1 })},
		{Nonsense, change(func(r *Report) { r.Streams = -1 })},
		{JSON, `{"loads":{"connections":NaN}}`},
		{JSON, `{"loads":{"connections":1e999}}`},
		{JSON, `{"loads":{"connections":"7"}}`},
		{JSON, `{"reaching":1}`},
		{JSON, `{"share":"2"}`},
		{Nonsense, change(func(r *Report) { r.InFlight = map[string]float64{"connections": -1} })},
		{Nonsense, change(func(r *Report) { r.InFlight = nLoads(9) })},
		{Nonsense, change(func(r *Report) { r.Cores = -1 })},
		{Nonsense, change(func(r *Report) { r.Cores = 100_001 })},
		{Nonsense, change(func(r *Report) { r.Share = 0.009 })},
		{Nonsense, change(func(r *Report) { r.Share = 101 })},
		{Nonsense, change(func(r *Report) { r.Warm = 1.001 })},
		{Nonsense, change(func(r *Report) { r.Relief = -0.1 })},
		{Nonsense, change(func(r *Report) { r.Loads = map[string]float64{"connections": -0.5} })},
		{Nonsense, change(func(r *Report) { r.Loads = map[string]float64{"of later": 1.1e15} })},
		{Nonsense, change(func(r *Report) { r.Loads = map[string]float64{strings.Repeat("x", 41): 1} })},
		{Nonsense, change(func(r *Report) { r.Loads = nLoads(9) })},
		{Nonsense, change(func(r *Report) { r.Zone = strings.Repeat("z", 64) })},
		{Nonsense, change(func(r *Report) { r.Zone = "a\nb" })},
		{Nonsense, change(func(r *Report) { r.Revision = "a\nb" })},
		{Nonsense, change(func(r *Report) { r.SaltCheck = "0F" })},
		{Nonsense, change(func(r *Report) { r.SaltCheck = strings.Repeat("0", 65) })},
		{Nonsense, change(func(r *Report) { r.Keys = map[string]int{key: -1} })},
		{Nonsense, change(func(r *Report) { r.Keys = map[string]int{key: 10_000_001} })},
		{Nonsense, change(func(r *Report) { r.Keys = map[string]int{"ab": 1} })},
	} {
		rep, err := decode([]byte(tc.body), []string{key})
		if ClassOf(err) != tc.class || !reflect.DeepEqual(rep, Report{}) {
			t.Errorf("%.60s: got %+v, %v (%s), want %s", tc.body, rep, err, ClassOf(err), tc.class)
		}
	}
}

// nLoads are n loads of the longest names.
func nLoads(n int) map[string]float64 {
	loads := map[string]float64{}
	for i := range n {
		loads[fmt.Sprintf("%040d", i)] = 1e15
	}
	return loads
}

func TestDecodeTakesEightLoads(t *testing.T) {
	want := good
	want.Loads = nLoads(8)
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decode(body, nil); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// One bad weight must neither silence the pod nor make its peers reject the whole report.
func TestHandlerLeavesOutInvalidLoads(t *testing.T) {
	w := get(t, "", func([]string) Report {
		rep := good
		rep.Loads = map[string]float64{"a": math.NaN(), "b": math.Inf(1), "c": -1, "d": 1.1e15, "streams": 0.12345678, "requests": 1e15}
		return rep
	})
	got, err := decode(w.Body.Bytes(), nil)
	if want := map[string]float64{"streams": 0.123, "requests": 1e15}; err != nil || !maps.Equal(got.Loads, want) {
		t.Errorf("loads are %v, %v, want %v", got.Loads, err, want)
	}
}

// A report of a version without shares means what it meant, and a version that does not know
// shares reads what it knew.
func TestVersionsWithAndWithoutShares(t *testing.T) {
	old := `{"pod":"a","ready":true,"uptimeMillis":5,"connections":7,"loads":{"connections":7}}`
	got, err := decode([]byte(old), nil)
	if want := (Report{Pod: "a", Ready: true, UptimeMillis: 5, Connections: 7, Loads: map[string]float64{"connections": 7}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("an old report: %+v, %v", got, err)
	}
	plain := get(t, "", func([]string) Report { return got }).Body.String()
	for _, field := range []string{"inFlight", "cores", "share", "warm", "relief", "paused"} {
		if strings.Contains(plain, field) {
			t.Errorf("a pod like all others reports %s: %s", field, plain)
		}
		if shared := get(t, "", func([]string) Report { return good }).Body.String(); !strings.Contains(shared, `"`+field+`":`) {
			t.Errorf("%s is missing in %s", field, shared)
		}
	}
}

// A share that is out of range is left out, which counts as 1. A small one must not become so.
func TestHandlerRoundsShares(t *testing.T) {
	for _, tc := range []struct{ value, cores, share, warm float64 }{
		{math.NaN(), 0, 0, 0},
		{math.Inf(1), 0, 0, 0},
		{-1, 0, 0, 0},
		{0, 0, 0, 0},
		{1e-9, 0.001, MinShare, 0.001},
		{1.0 / 3, 0.333, 0.333, 0.333},
		{1, 1, 1, 1},
		{2.5, 2.5, 2.5, 0},
		{1e6, 0, 0, 0},
	} {
		w := get(t, "", func([]string) Report {
			return Report{Pod: "a", Cores: tc.value, Share: tc.value, Warm: tc.value, Relief: tc.value}
		})
		got, err := decode(w.Body.Bytes(), nil)
		if err != nil || got.Cores != tc.cores || got.Share != tc.share || got.Warm != tc.warm || got.Relief != tc.warm {
			t.Errorf("%v: got %+v, %v", tc.value, got, err)
		}
	}
}

// Loads have as many digits as a decision may need.
func TestHandlerRoundsLoads(t *testing.T) {
	for load, want := range map[float64]string{
		0: "0", 0.0004: "0", 1.0 / 3: "0.333", 999.9994: "999.999", 1234.5678: "1234.57", 12_345.678: "12345.7",
		123_456.789: "123457", 9_876_543.21: "9876543", 9_876_543: "9876543",
	} {
		body := get(t, "", func([]string) Report {
			return Report{Pod: "a", Loads: map[string]float64{"requests": load}, InFlight: map[string]float64{"requests": load}}
		}).Body.String()
		for _, field := range []string{"loads", "inFlight"} {
			if want := `"` + field + `":{"requests":` + want + `}`; !strings.Contains(body, want) {
				t.Errorf("%v: got %s, want %s", load, body, want)
			}
		}
	}
}

// Over a real socket, HEAD must give the headers of GET and no byte of its body.
func TestHead(t *testing.T) {
	s := httptest.NewServer(Handler(func([]string) Report { return good }))
	defer s.Close()
	defer s.Client().CloseIdleConnections()
	answers := map[string]*http.Response{}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+Path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		res.Header.Del("Date")
		answers[method] = res
	}
	w := httptest.NewRecorder() // net/http would hide a body
	Handler(func([]string) Report { return good }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodHead, Path, nil))
	if w.Body.Len() != 0 {
		t.Errorf("the handler writes the body %q for HEAD", w.Body)
	}
	head, full := answers[http.MethodHead], answers[http.MethodGet]
	if head.StatusCode != http.StatusOK || !reflect.DeepEqual(head.Header, full.Header) || head.ContentLength <= 0 {
		t.Errorf("HEAD: %d %v\nGET:  %d %v", head.StatusCode, head.Header, full.StatusCode, full.Header)
	}
	if body, err := io.ReadAll(head.Body); len(body) != 0 || err != nil {
		t.Errorf("HEAD has the body %q, %v", body, err)
	}
}

// A report within bounds must arrive unchanged.
func TestReportsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		conns := rapid.IntRange(0, maxConnections).Draw(t, "connections")
		rep := Report{
			Pod:          rapid.StringMatching(`[a-z0-9.-]{1,253}`).Draw(t, "pod"),
			Ready:        rapid.Bool().Draw(t, "ready"),
			UptimeMillis: rapid.Int64Range(0, maxUptime.Milliseconds()).Draw(t, "uptime"),
			Generation:   rapid.Uint64().Draw(t, "generation"),
			Connections:  conns,
			Draining:     rapid.IntRange(0, conns).Draw(t, "draining"),
			Streams:      rapid.IntRange(0, maxStreams).Draw(t, "streams"),
			Keys: rapid.MapOf(rapid.StringMatching(`[0-9a-f]{1,64}`), rapid.IntRange(0, maxConnections)).
				Draw(t, "keys"),
			Reaching:   rapid.Bool().Draw(t, "reaching"),
			Overloaded: rapid.Bool().Draw(t, "overloaded"),
			Place: Place{
				Zone: rapid.StringMatching(`[a-z0-9-]{0,63}`).Draw(t, "zone"), Revision: rapid.StringMatching(`[a-z0-9]{0,63}`).Draw(t, "revision"), Out: rapid.Bool().Draw(t, "out"),
				SaltCheck: rapid.StringMatching(`[0-9a-f]{0,64}`).Draw(t, "salt"),
			},
			Loads: rapid.MapOfN(rapid.StringMatching(`[a-z]{0,40}`), rapid.Map(rapid.Map(rapid.IntRange(0, 1e15), thousandths), roundedLoad), 0, maxLoads).
				Draw(t, "loads"),
			Cores:  rapid.Map(rapid.IntRange(0, maxCores*1000), thousandths).Draw(t, "cores"),
			Share:  rapid.Map(rapid.IntRange(MinShare*1000, MaxShare*1000), thousandths).Draw(t, "share"),
			Warm:   rapid.Map(rapid.IntRange(0, 1000), thousandths).Draw(t, "warm"),
			Relief: rapid.Map(rapid.IntRange(0, 1000), thousandths).Draw(t, "relief"),
			Paused: rapid.Bool().Draw(t, "paused"),
		}
		keys := slices.Sorted(maps.Keys(rep.Keys))
		if n := rapid.IntRange(0, len(keys)).Draw(t, "single-homed"); n > 0 {
			rep.SingleHomed = keys[:n]
		}
		w := httptest.NewRecorder()
		answer(w, http.MethodGet, rep, keys)
		got, err := decode(w.Body.Bytes(), keys)
		if len(rep.Keys) == 0 {
			rep.Keys = nil
		}
		if len(rep.Loads) == 0 {
			rep.Loads = nil
		}
		if err != nil || !reflect.DeepEqual(got, rep) {
			t.Fatalf("got %+v, %v, want %+v", got, err, rep)
		}
	})
}

func thousandths(n int) float64 { return float64(n) / 1000 }

func TestCheckPod(t *testing.T) {
	if err := good.CheckPod(good.Pod); err != nil {
		t.Error(err)
	}
	if err := good.CheckPod(""); err != nil {
		t.Error(err)
	}
	if err := good.CheckPod("pod-b"); ClassOf(err) != WrongPod {
		t.Errorf("got %v, want an error of class %s", err, WrongPod)
	}
}

func TestEveryErrorHasAClass(t *testing.T) {
	if ClassOf(nil) != "" || ClassOf(errors.New("x")) != Other {
		t.Error("nil or an unknown error has the wrong class")
	}
	if all := Classes(); len(all) != len(setOf(all)) || !slices.Contains(all, Other) {
		t.Errorf("classes are %v, want each once, and %s among them", all, Other)
	}
}
