package peerz

import (
	"encoding/json"
	"errors"
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
}

// hashes returns n hashed keys.
func hashes(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = HashKey(strings.Repeat("k", i))
	}
	return keys
}

// Pods of different versions must agree on these for ever.
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
		t.Error("a Hasher without salt is not HashKey")
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
	var asked []string
	w := get(t, "keys="+keys[0]+","+keys[1]+","+keys[0]+"&new=x&keys="+keys[1], func(k []string) Report {
		asked = k
		rep := good
		rep.Draining = 50 // counted a moment after Connections
		rep.Keys = map[string]int{keys[0]: 4, keys[2]: 9}
		return rep
	})
	if !slices.Equal(asked, keys[:2]) {
		t.Errorf("asked for %v, want each once", asked)
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
			t.Errorf("%s is %q", name, w.Header().Get(name))
		}
	}
}

// What report returned is its own: it may be shared between answers.
func TestHandlerLeavesTheReportAlone(t *testing.T) {
	keys := hashes(2)
	shared := map[string]int{keys[0]: 1, keys[1]: 2}
	get(t, "", func([]string) Report { return Report{Pod: "a", Keys: shared} })
	if len(shared) != 2 {
		t.Errorf("the handler changed the map of the report: %v", shared)
	}
}

func TestHandlerRefuses(t *testing.T) {
	never := func([]string) Report { t.Error("the report was asked for"); return good }
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
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := httptest.NewRecorder()
		Handler(never).ServeHTTP(w, httptest.NewRequest(method, Path, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestDecodeToleratesOtherVersions(t *testing.T) {
	body := `{"pod":"a","ready":true,"uptimeMillis":5,"connections":7,"new":{"x":[1,2]},"keys":null}`
	got, err := decode([]byte(body), nil)
	if want := (Report{Pod: "a", Ready: true, UptimeMillis: 5, Connections: 7}); err != nil || !reflect.DeepEqual(got, want) {
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
	for _, tc := range []struct{ why, body string }{
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
		{Nonsense, change(func(r *Report) { r.Keys = map[string]int{key: -1} })},
		{Nonsense, change(func(r *Report) { r.Keys = map[string]int{key: 10_000_001} })},
		{Nonsense, change(func(r *Report) { r.Keys = map[string]int{"ab": 1} })},
	} {
		rep, err := decode([]byte(tc.body), []string{key})
		if Why(err) != tc.why || !reflect.DeepEqual(rep, Report{}) {
			t.Errorf("%.60s: got %+v, %v (%s), want %s", tc.body, rep, err, Why(err), tc.why)
		}
	}
}

// What a pod says arrives as it was said, if it is within bounds.
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
		}
		keys := slices.Collect(maps.Keys(rep.Keys))
		w := httptest.NewRecorder()
		answer(w, rep, keys)
		got, err := decode(w.Body.Bytes(), keys)
		if len(rep.Keys) == 0 {
			rep.Keys = nil
		}
		if err != nil || !reflect.DeepEqual(got, rep) {
			t.Fatalf("got %+v, %v, want %+v", got, err, rep)
		}
	})
}

func FuzzDecode(f *testing.F) {
	key := HashKey("k")
	f.Add([]byte(`{"pod":"a","ready":true,"uptimeMillis":5,"connections":7,"draining":1,"keys":{"` + key + `":3}}`))
	f.Add([]byte(`{"pod":"a","ready":true,"uptimeMillis":-5,"connections":7}`))
	f.Add([]byte(`{"Pod":"\ud800","READY":false,"uptimeMillis":0,"connections":0,"keys":{"a":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		rep, err := decode(body, []string{key})
		if err != nil {
			if why := Why(err); why != JSON && why != Nonsense {
				t.Fatalf("class %s: %v", why, err)
			}
			if !reflect.DeepEqual(rep, Report{}) {
				t.Fatalf("an error and a report: %+v", rep)
			}
			return
		}
		inBounds(t, rep)
		if n, ok := rep.Keys[key]; len(rep.Keys) > 1 || (len(rep.Keys) == 1 && !ok) || n < 0 || n > maxConnections {
			t.Fatalf("keys %v", rep.Keys)
		}
	})
}

func inBounds(t *testing.T, r Report) {
	t.Helper()
	if r.Pod == "" || len(r.Pod) > 253 || strings.ContainsAny(r.Pod, "\x00\n\r\t\x1b") {
		t.Errorf("pod %q", r.Pod)
	}
	if r.Connections < 0 || r.Connections > 10_000_000 || r.Draining < 0 || r.Draining > r.Connections || r.Streams < 0 {
		t.Errorf("counts of %+v", r)
	}
	if years := r.Uptime().Hours() / 24 / 365; years < 0 || years > 10 {
		t.Errorf("up for %v years", years)
	}
}

// FuzzKeys: what the handler accepts are valid keys, each once.
func FuzzKeys(f *testing.F) {
	f.Add("keys=ab,cd&keys=ef")
	f.Add("keys=%61%2cb")
	f.Fuzz(func(t *testing.T, query string) {
		keys, err := parseKeys(query)
		if err != nil {
			return
		}
		if len(keys) > MaxKeys || len(setOf(keys)) != len(keys) {
			t.Fatalf("%d keys, %d different ones", len(keys), len(setOf(keys)))
		}
		for _, key := range keys {
			if strings.Trim(key, "0123456789abcdef") != "" || key == "" || len(key) > 64 {
				t.Fatalf("key %q", key)
			}
		}
	})
}

func TestCheckPod(t *testing.T) {
	if err := good.CheckPod(good.Pod); err != nil {
		t.Error(err)
	}
	if err := good.CheckPod(""); err != nil {
		t.Error(err)
	}
	if err := good.CheckPod("pod-b"); Why(err) != WrongPod {
		t.Errorf("got %v", err)
	}
}

func TestWhyHasAClassForEverything(t *testing.T) {
	if Why(nil) != "" || Why(errors.New("x")) != Other {
		t.Error("nil or an unknown error has the wrong class")
	}
	if whys := Whys(); len(whys) != len(setOf(whys)) || !slices.Contains(whys, Other) {
		t.Errorf("classes %v", whys)
	}
}
