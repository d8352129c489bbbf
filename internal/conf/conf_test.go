package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type sample struct {
	Pace  paceSample  `json:"pace"`
	Peers peersSample `json:"peers"`
}

type paceSample struct {
	Enabled      bool          `json:"enabled"`
	MaxPerSecond float64       `json:"maxPerSecond"`
	Cooldown     time.Duration `json:"cooldown"`
}

type peersSample struct {
	Source string    `json:"source"`
	Static []string  `json:"static"`
	Port   int       `json:"port"`
	DNS    dnsSample `json:"dns"`
}

type dnsSample struct {
	Name     string        `json:"name"`
	Interval time.Duration `json:"interval"`
}

func defaults() sample {
	return sample{
		Pace:  paceSample{Enabled: true, MaxPerSecond: 100, Cooldown: 30 * time.Second},
		Peers: peersSample{Source: "none", DNS: dnsSample{Interval: 2 * time.Second}},
	}
}

func lines(err error) string {
	var out []string
	for _, e := range Errors(err) {
		out = append(out, e.Error())
	}
	return strings.Join(out, "\n")
}

func TestYAMLSetsItsKeysAndKeepsTheRest(t *testing.T) {
	got, want := defaults(), defaults()
	tree := New(&got)
	tree.YAML("f.yaml", []byte(`
pace:
  enabled: false
  cooldown: 1m30s
peers:
  static: [a, "b:1"]
  port: 8080
  dns:
    name: hello.test
    interval: null
`))
	want.Pace.Enabled, want.Pace.Cooldown = false, 90*time.Second
	want.Peers.Static, want.Peers.Port, want.Peers.DNS.Name = []string{"a", "b:1"}, 8080, "hello.test"
	if err := tree.Err(); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := tree.Origin("peers.port"); got != "f.yaml:7" {
		t.Errorf("the origin of peers.port is %q, want f.yaml:7", got)
	}
	if got := tree.Origin("peers.source"); got != "" {
		t.Errorf("the origin of a default is %q, want none", got)
	}
}

func TestEmptyYAMLKeepsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n\n", "# only a comment\n", "---\n", "null", "~", "{}", "pace:\n", "pace: {}", "pace:\n  cooldown:\n"} {
		got := defaults()
		tree := New(&got)
		tree.YAML("f", []byte(text))
		if err := tree.Err(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(defaults()) {
			t.Errorf("%q changed the defaults to %+v", text, got)
		}
	}
}

// The exact text of each message is tested, since people read it in a hurry: the key, then
// what to do, then where.
func TestYAMLMessages(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a typo", "pace:\n  cooldwon: 1s", "pace.cooldwon: unknown key, did you mean pace.cooldown? (f:2)"},
		{"a typo in a group", "pase:\n  cooldown: 1s", "pase: unknown key, did you mean pace? (f:1)"},
		{"words joined another way", "pace: {max_per_second: 1}", "pace.max_per_second: unknown key, did you mean pace.maxPerSecond? (f:1)"},
		{"other case", "pace: {maxpersecond: 1}", "pace.maxpersecond: unknown key, did you mean pace.maxPerSecond? (f:1)"},
		{"another group's key", "peers: {cooldown: 1s}", "peers.cooldown: unknown key, did you mean pace.cooldown? (f:1)"},
		{"nothing near", "pace: {colour: red}", "pace.colour: unknown key (f:1)"},
		{"twice", "peers:\n  port: 1\n  port: 2", "peers.port: given twice, first on line 2 (f:3)"},
		{"a group twice", "peers: {port: 1}\npeers: {port: 2}", "peers: given twice, first on line 1 (f:2)"},
		{"dots", "peers.port: 1", "peers.port: keys do not nest by dots in YAML, write each level on its own line (f:1)"},
		{"no unit", "pace: {cooldown: 30}", `pace.cooldown: "30" has no unit, write 30s (f:1)`},
		{"no unit, quoted", "pace: {cooldown: '1.5'}", `pace.cooldown: "1.5" has no unit, write 1.5s (f:1)`},
		{"no duration", "pace: {cooldown: soon}", `pace.cooldown: "soon" is not a duration, write it like 30s, 1m30s or 500ms (f:1)`},
		{"a duration that is a list", "pace: {cooldown: [1s]}", "pace.cooldown: must be a single value, not a list (f:1)"},
		{"yes", "pace: {enabled: yes}", `pace.enabled: "yes" is neither true nor false (f:1)`},
		{"quoted bool", "pace: {enabled: 'true'}", `pace.enabled: "true" is text, write it without quotes (f:1)`},
		{"quoted number", "peers: {port: '80'}", `peers.port: "80" is text, write it without quotes (f:1)`},
		{"fraction", "peers: {port: 1.5}", `peers.port: "1.5" is not a whole number (f:1)`},
		{"huge", "peers: {port: 99999999999999999999}", `peers.port: "99999999999999999999" is out of range (f:1)`},
		{"not a number", "pace: {maxPerSecond: many}", `pace.maxPerSecond: "many" is not a number (f:1)`},
		{"NaN", "pace: {maxPerSecond: .nan}", `pace.maxPerSecond: ".nan" is not a number (f:1)`},
		{"infinite", "pace: {maxPerSecond: .inf}", `pace.maxPerSecond: ".inf" is not a number (f:1)`},
		{"a number for a text", "peers: {source: 1}", "peers.source: 1 is not text, write it in quotes (f:1)"},
		{"a text for a list", "peers: {static: 'a,b'}", `peers.static: must be a list like [a, b], not "a,b" (f:1)`},
		{"a number in a list", "peers: {static: [a, 1]}", "peers.static: entry 2: 1 is not text, write it in quotes (f:1)"},
		{"a list in a list", "peers: {static: [[a]]}", "peers.static: entry 1 must be text, not a list (f:1)"},
		{"a value for a group", "pace: true", `pace: must hold further keys, not "true" (f:1)`},
		{"a list for a group", "pace: [a]", "pace: must hold further keys, not a list (f:1)"},
		{"a mapping for a value", "peers: {port: {a: 1}}", "peers.port: must be a single value, not a mapping (f:1)"},
		{"a list for everything", "- a", "f:1: must hold further keys, not a list"},
		{"a key that is a list", "[a]: 1", "?: a key must be a word (f:1)"},
		{"two documents", "pace: {}\n---\npeers: {port: 1}", "f:2: a second YAML document, only one is read"},
		{"invalid YAML", "pace:\n\tcooldown: 1s", "f:2: not valid YAML: found character that cannot start any token"},
		{"an alias to itself", "pace: &a {enabled: *a}", "pace.enabled: must be a single value, not a mapping (f:1)"},
		{"binary", "peers: {source: !!binary aGk=}", "peers.source: aGk= is not text, write it in quotes (f:1)"},
		{"an ugly key", `"pa\nce": 1`, `"pa\nce": unknown key, did you mean pace? (f:1)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := defaults()
			tree := New(&got)
			tree.YAML("f", []byte(c.text))
			if text := lines(tree.Err()); text != c.want {
				t.Errorf("\ngot  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	got := defaults()
	tree := New(&got)
	tree.Environ("EK_", []string{
		"EK_PEERS_DNS_INTERVAL=5s", "EK_PACE_MAXPERSECOND=0.5", "EK_PEERS_STATIC=a, b:1",
		"EK_PACE_ENABLED=false", "EK_PEERS_PORT=", "EK_OTHER=fine", "PATH=/bin", "EK_PEERS_SOURCE=first", "EK_PEERS_SOURCE=last",
		// Kubernetes sets these for a Service called ek-peers.
		"EK_PEERS_SERVICE_HOST=10.0.0.1", "EK_PEERS_SERVICE_PORT=80", "EK_PEERS_SERVICE_PORT_HTTP=80",
		"EK_PEERS_PORT=tcp://10.0.0.1:80", "EK_PEERS_PORT_80_TCP=tcp://10.0.0.1:80", "EK_PEERS_PORT_80_TCP_ADDR=10.0.0.1",
	})
	if err := tree.Err(); err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Peers.DNS.Interval, want.Pace.MaxPerSecond, want.Peers.Static = 5*time.Second, 0.5, []string{"a", "b:1"}
	want.Pace.Enabled, want.Peers.Source = false, "last"
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEnvironmentMessages(t *testing.T) {
	for pair, want := range map[string]string{
		"EK_PACE_COOLDWON=1s":   "EK_PACE_COOLDWON: unknown name, did you mean EK_PACE_COOLDOWN? (environment)",
		"EK_PACE_COLOUR=red":    "EK_PACE_COLOUR: unknown name (environment)",
		"EK_PEER_SOURCE=dns":    "EK_PEER_SOURCE: unknown name, did you mean EK_PEERS_SOURCE? (environment)",
		"EK_PACE_COOLDOWN=30":   `pace.cooldown: "30" has no unit, write 30s (environment EK_PACE_COOLDOWN)`,
		"EK_PACE_ENABLED=1":     `pace.enabled: "1" is neither true nor false (environment EK_PACE_ENABLED)`,
		"EK_PEERS_PORT=x":       `peers.port: "x" is not a whole number (environment EK_PEERS_PORT)`,
		"EK_VERSION=1":          "",
		"EK_PACEMAKER_STYLE=ok": "",
		"EKPACE_COOLDWON=1s":    "",
	} {
		got := defaults()
		tree := New(&got)
		tree.Environ("EK_", []string{pair})
		if text := lines(tree.Err()); text != want {
			t.Errorf("%s\ngot  %s\nwant %s", pair, text, want)
		}
	}
}

func TestSetMessages(t *testing.T) {
	for pair, want := range map[string]string{
		"pace.cooldown":     "pace.cooldown: no value, write key=value (-set)",
		"pace.cooldwon=1s":  "pace.cooldwon: unknown key, did you mean pace.cooldown? (-set)",
		"cooldown=1s":       "cooldown: unknown key, did you mean pace.cooldown? (-set)",
		"pace=1":            "pace: holds further keys, set one of them (-set)",
		"pace.cooldown=":    `pace.cooldown: "" is not a duration, write it like 30s, 1m30s or 500ms (-set)`,
		"pace.cooldown=30":  `pace.cooldown: "30" has no unit, write 30s (-set)`,
		"peers.dns.name=":   "",
		"peers.static=":     "",
		" peers.port = 80 ": "",
	} {
		got := defaults()
		tree := New(&got)
		tree.Set([]string{pair})
		if text := lines(tree.Err()); text != want {
			t.Errorf("%s\ngot  %s\nwant %s", pair, text, want)
		}
	}
}

func TestLayersOverrideAndTheirErrorsComeTogether(t *testing.T) {
	got := defaults()
	tree := New(&got)
	tree.YAML("f", []byte("peers: {source: file, dns: {name: file}, port: 1}\npace: {cooldown: 7}"))
	tree.Environ("EK_", []string{"EK_PEERS_DNS_NAME=env", "EK_PEERS_PORT=2", "EK_PACE_ENABLED=no"})
	tree.Set([]string{"peers.port=3", "pace.max=1"})
	if p := got.Peers; p.Source != "file" || p.DNS.Name != "env" || p.Port != 3 {
		t.Errorf("the layers give %+v, want each to override the one before", p)
	}
	var where []string
	for _, e := range Errors(tree.Err()) {
		where = append(where, e.Where)
	}
	if want := []string{"f:2", "environment EK_PACE_ENABLED", "-set"}; !slices.Equal(where, want) {
		t.Errorf("errors from %q, want %q", where, want)
	}
	var one *Error
	if !errors.As(tree.Err(), &one) || one.Key != "pace.cooldown" {
		t.Errorf("errors.As found %+v", one)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var file strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&file, "pace%d: 1\n", i)
	}
	got := defaults()
	tree := New(&got)
	tree.YAML("f", []byte(file.String()))
	all := Errors(tree.Err())
	if len(all) != maxErrors+1 {
		t.Fatalf("%d errors, want %d", len(all), maxErrors+1)
	}
	if got, want := all[maxErrors].Error(), "and 49950 more"; got != want {
		t.Errorf("the last error is %q, want %q", got, want)
	}
}

func TestReadFileIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "big.yaml")
	for size, ok := range map[int]bool{maxFileSize: true, maxFileSize + 1: false} {
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if data, err := ReadFile(name); (err == nil) != ok {
			t.Errorf("file of %d bytes: read %d bytes, error %v", size, len(data), err)
		}
	}
	if _, err := ReadFile(name + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v, want %v", err, os.ErrNotExist)
	}
}

func TestEnvNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range New(&sample{}).Keys() {
		if name := EnvName("EK_", key); seen[name] {
			t.Errorf("%s names two keys", name)
		} else {
			seen[name] = true
		}
	}
}

func TestDurationsReadWell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "1m30s", 30 * time.Minute: "30m", 2 * time.Hour: "2h",
		10 * time.Minute: "10m", 2*time.Hour + time.Second: "2h0m1s", 100 * time.Millisecond: "100ms", -time.Hour: "-1h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%s) is %q, want %q", d, got, want)
		}
		if back, err := time.ParseDuration(want); err != nil || back != d {
			t.Errorf("%q parses as %s, %v, want %s", want, back, err, d)
		}
	}
}

func TestNewRefusesAStructWithoutTextForm(t *testing.T) {
	for name, dst := range map[string]any{
		"no pointer": sample{},
		"no struct":  new(int),
		"no tag":     &struct{ A int }{},
		"no text form": &struct {
			A chan int `json:"a"`
		}{},
		"list of texts": &struct {
			A []int `json:"a"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: New did not panic", name)
				}
			}()
			New(dst)
		}()
	}
}
