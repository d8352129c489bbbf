package peerz

import (
	"maps"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func FuzzDecode(f *testing.F) {
	key := HashKey("k")
	f.Add([]byte(`{"pod":"a","ready":true,"uptimeMillis":5,"connections":7,"draining":1,"keys":{"` + key + `":3}}`))
	f.Add([]byte(`{"pod":"a","ready":true,"uptimeMillis":-5,"connections":7}`))
	f.Add([]byte(`{"Pod":"\ud800","READY":false,"uptimeMillis":0,"connections":0,"keys":{"a":1}}`))
	for _, more := range []string{
		`"loads":{"connections":7,"requests":0.25,"of later":1e15},"reaching":true,"overloaded":true`,
		`"loads":{"connections":-1}`, `"loads":{"a":1e15,"b":1e16}`, `"loads":null,"reaching":null`, `"loads":{"a":1e999}`,
		`"loads":{"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7,"8":8,"9":9}`, `"loads":{"` + strings.Repeat("x", 41) + `":1}`,
		`"loads":[1],"Loads":{"a":1}`, `"overloaded":"yes"`,
		`"inFlight":{"connections":7.5},"cores":1.5,"share":0.01,"warm":0.1,"relief":0.001,"paused":true`,
		`"inFlight":{"connections":-1}`, `"inFlight":null,"cores":null,"share":null,"warm":null,"relief":null,"paused":null`,
		`"cores":1e6`, `"share":100.1`, `"share":1e-9`, `"warm":1.01`, `"warm":-0`, `"relief":-0.5`, `"cores":"2"`, `"share":1e999`,
		`"sticky":["` + key + `"]`, `"sticky":["` + key + `","` + key + `"]`, `"sticky":["ab"]`, `"sticky":null`,
		`"zone":"z1","out":true,"saltCheck":"0f1e"`, `"zone":"` + strings.Repeat("z", 64) + `"`, `"zone":"a\nb"`,
		`"revision":"7d4b9c6f5d"`, `"revision":"` + strings.Repeat("r", 64) + `"`, `"zone":1`, `"out":"yes"`, `"saltCheck":"xyz"`, `"saltCheck":"` + strings.Repeat("a", 65) + `"`, `"Place":{"zone":"\u0000"}`,
	} {
		f.Add([]byte(`{"pod":"a","ready":true,"uptimeMillis":5,"connections":7,` + more + `}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rep, err := decode(body, []string{key})
		if err != nil {
			if class := ClassOf(err); class != JSON && class != Nonsense {
				t.Fatalf("error of class %s: %v", class, err)
			}
			if !reflect.DeepEqual(rep, Report{}) {
				t.Fatalf("got a report beside the error: %+v", rep)
			}
			return
		}
		inBounds(t, rep)
		if n, ok := rep.Keys[key]; len(rep.Keys) > 1 || (len(rep.Keys) == 1 && !ok) || n < 0 || n > maxConnections {
			t.Fatalf("keys %v", rep.Keys)
		}
		if len(rep.SingleHomed) > 1 || len(rep.SingleHomed) == 1 && rep.SingleHomed[0] != key {
			t.Fatalf("single-homed keys %q", rep.SingleHomed)
		}
	})
}

func inBounds(t *testing.T, r Report) {
	t.Helper()
	if r.Pod == "" || len(r.Pod) > 253 || strings.ContainsAny(r.Pod, "\x00\n\r\t\x1b") {
		t.Errorf("pod %q", r.Pod)
	}
	if r.Connections < 0 || r.Connections > 10_000_000 || r.Draining < 0 || r.Draining > r.Connections || r.Streams < 0 {
		t.Errorf("impossible counts: %+v", r)
	}
	if len(r.Zone) > 63 || len(r.Revision) > 63 || strings.ContainsAny(r.Zone+r.Revision, "\x00\n\r\t\x1b") {
		t.Errorf("zone %q, revision %q", r.Zone, r.Revision)
	}
	if strings.Trim(r.SaltCheck, "0123456789abcdef") != "" || len(r.SaltCheck) > 64 {
		t.Errorf("fingerprint of the salt %q", r.SaltCheck)
	}
	if len(r.Loads) > 8 {
		t.Errorf("%d loads", len(r.Loads))
	}
	if len(r.InFlight) > 8 {
		t.Errorf("%d loads in flight", len(r.InFlight))
	}
	for name, share := range map[string]float64{"cores": r.Cores / 1000, "share": r.Share, "warm": r.Warm * 100, "relief": r.Relief * 100} {
		if share != 0 && !(share > 0 && share <= 100) {
			t.Errorf("%s out of bounds: %+v", name, r)
		}
	}
	for name, load := range mergedLoads(r) {
		if len(name) > 41 || math.IsNaN(load) || load < 0 || load > 1e15 {
			t.Errorf("load by %q: %v", name, load)
		}
	}
	if years := r.Uptime().Hours() / 24 / 365; years < 0 || years > 10 {
		t.Errorf("uptime of %v years", years)
	}
}

// mergedLoads are the loads of both kinds.
func mergedLoads(r Report) map[string]float64 {
	all := maps.Clone(r.InFlight)
	if all == nil {
		all = map[string]float64{}
	}
	for name, load := range r.Loads {
		all[name+"+"] = load
	}
	return all
}

// FuzzKeys checks that the handler accepts only valid keys, each once.
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

// FuzzStart checks that an announcement names a pod, and that it survives the way to a peer.
func FuzzStart(f *testing.F) {
	for _, seed := range []string{
		"pod=a", "pod=a&addr=10.0.0.7", "pod=a&addr=::ffff:10.0.0.7", "pod=a&addr=fd00::7%25eth0", "addr=10.0.0.7", "pod=&addr=", "pod=%0a",
		"pod=a;b", "pod=a&pod=b", "pod=" + strings.Repeat("a", 254), "pod=" + strings.Repeat("%41", 300), "pod=a&addr=x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		s, ok := StartOf(&http.Request{Header: http.Header{startHeader: {header}}})
		if !ok {
			if s != (Start{}) {
				t.Fatalf("got %+v and false", s)
			}
			return
		}
		if !validPod(s.Pod) || s.Addr.Is4In6() {
			t.Fatalf("got %+v", s)
		}
		if again, ok := StartOf(&http.Request{Header: http.Header{startHeader: {s.header()}}}); !ok || again != s {
			t.Fatalf("%+v became %+v, %v", s, again, ok)
		}
	})
}
