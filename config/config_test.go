package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conf"
	"pgregory.net/rapid"
)

// noEnv keeps the environment of whoever runs the tests out of them.
var noEnv = []string{}

func writeConfig(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// messages lists errors as a person sees them, with file names cut to the last
// element.
func messages(err error) []string {
	var out []string
	for _, e := range Errors(err) {
		short := *e
		short.Where = filepath.Base(e.Where)
		if e.Where == "" {
			short.Where = ""
		}
		out = append(out, short.Error())
	}
	return out
}

func TestDefaultConfigIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(Layers{Env: noEnv})
	if err != nil || len(ChangedKeys(cfg, Default())) != 0 {
		t.Fatalf("nothing set: %+v, %v", cfg, err)
	}
}

// A key without a rule would be neither checked nor known to RestartNeeded.
func TestEachKeyHasOneRule(t *testing.T) {
	var ruled []string
	for _, r := range rules {
		ruled = append(ruled, r.key)
	}
	if keys := conf.New(&Config{}).Keys(); !slices.Equal(ruled, keys) {
		t.Errorf("rules for %q\nkeys are %q", ruled, keys)
	}
}

func TestEnvNamesOfConfigAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, r := range rules {
		name := conf.EnvName(EnvPrefix, r.key)
		if other := seen[name]; other != "" {
			t.Errorf("%s stands for %s and %s", name, other, r.key)
		}
		seen[name] = r.key
	}
}

// fiveErrors is what docs/settings.md shows, too.
var fiveErrors = []string{
	`policy.maxConnectionAge: "30" has no unit, write 30s (config.yaml:2)`,
	`rebalance.tolerence: unknown key, did you mean rebalance.tolerance? (config.yaml:4)`,
	`peers.port: "8080" is a text, write it without quotes (config.yaml:8)`,
	`rebalance.floor: 1.5 is too high, allowed: 0 to 0.95 (config.yaml:5)`,
	`peers.dns.name: is empty, but peers.source is dns and needs it (config.yaml:7)`,
}

func TestFiveWrongKeysMakeFiveErrors(t *testing.T) {
	file := writeConfig(t, `policy:
  maxConnectionAge: 30
rebalance:
  tolerence: 0.2
  floor: 1.5
peers:
  source: dns
  port: "8080"
`)
	_, err := Load(Layers{File: file, Env: noEnv})
	if got := messages(err); !slices.Equal(got, fiveErrors) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(fiveErrors, "\n"))
	}
}

func TestLayersAndTheirErrorsTogether(t *testing.T) {
	file := writeConfig(t, "rebalance: {settle: 3s, spread: 3s, cooldown: 3s}\nshutdown: {timeout: 0s}\n")
	opts := Layers{
		File: file,
		Env:  []string{"EVENKEEL_REBALANCE_SPREAD=4s", "EVENKEEL_REBALANCE_COOLDOWN=4s", "HOME=/"},
		Set:  []string{"rebalance.cooldown=5s", "shutdown.timeout=1m"},
	}
	cfg, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if r := cfg.Rebalance; r.Settle != 3*time.Second || r.Spread != 4*time.Second || r.Cooldown != 5*time.Second {
		t.Errorf("precedence: %+v", r)
	}
	opts.Env = append(opts.Env, "EVENKEEL_PEERS_DNS_NAMES=x", "EVENKEEL_PEERS_PORT=99999")
	opts.Set = []string{"rebalance.enable=false", "rebalance.weight=cpu"}
	_, err = Load(opts)
	want := []string{
		"EVENKEEL_PEERS_DNS_NAMES: unknown name, did you mean EVENKEEL_PEERS_DNS_NAME? (environment)",
		"rebalance.enable: unknown key, did you mean rebalance.enabled? (-set)",
		`rebalance.weight: "cpu" is none of connections, requests, streams (-set)`,
		"peers.port: 99999 is too high, allowed: 0 to 65535 (environment EVENKEEL_PEERS_PORT)",
		"shutdown.timeout: 0s is too low, allowed: 1s to 1h (config.yaml:2)",
	}
	if got := messages(err); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestNilEnvIsThatOfTheProcess(t *testing.T) {
	t.Setenv("EVENKEEL_REBALANCE_SETTLE", "7s")
	if cfg, err := Load(Layers{}); err != nil || cfg.Rebalance.Settle != 7*time.Second {
		t.Errorf("Env nil: %v, %v", cfg.Rebalance.Settle, err)
	}
	if cfg, err := Load(Layers{Env: noEnv}); err != nil || cfg.Rebalance.Settle != 2*time.Second {
		t.Errorf("Env empty: %v, %v", cfg.Rebalance.Settle, err)
	}
}

// What stands in a file that is not there is unknown: that peers.dns.name is
// missing beside the source would be a guess.
func TestFileThatCannotBeRead(t *testing.T) {
	for name, file := range map[string]string{
		"absent": filepath.Join(t.TempDir(), "none.yaml"),
		"broken": writeConfig(t, "peers: {dns: {name: [x"),
	} {
		_, err := Load(Layers{File: file, Env: noEnv, Set: []string{"peers.source=dns", "peers.prot=1"}})
		if name == "absent" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		keys := []string{}
		for _, e := range Errors(err) {
			keys = append(keys, e.Key)
		}
		if slices.Contains(keys, "peers.dns.name") || !slices.Contains(keys, "peers.prot") {
			t.Errorf("%s: errors for %q: %v", name, keys, err)
		}
	}
}

func TestValidateMessages(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"policy.maxConnectionAge: 500ms is too low, allowed: 0, or 1s to 8760h":                                 func(c *Config) { c.Policy.MaxConnectionAge = 500 * time.Millisecond },
		"policy.maxConnectionAgeGrace: -1s is too low, allowed: 0, or 1s to 8760h":                              func(c *Config) { c.Policy.MaxConnectionAgeGrace = -time.Second },
		"policy.keepaliveTime: 999ms is too low, allowed: 0, or 1s to 8760h":                                    func(c *Config) { c.Policy.KeepaliveTime = 999 * time.Millisecond },
		"policy.keepaliveTimeout: 2h is too high, allowed: 0, or 1s to 1h":                                      func(c *Config) { c.Policy.KeepaliveTimeout = 2 * time.Hour },
		"rebalance.tolerance: 0 is too low, allowed: 0.01 to 1":                                                 func(c *Config) { c.Rebalance.Tolerance = 0 },
		"rebalance.tolerance: NaN is too low, allowed: 0.01 to 1":                                               func(c *Config) { c.Rebalance.Tolerance = math.NaN() },
		"rebalance.floor: 1 is too high, allowed: 0 to 0.95":                                                    func(c *Config) { c.Rebalance.Floor = 1 },
		"rebalance.maxPerSecond: +Inf is too high, allowed: 0.1 to 100000":                                      func(c *Config) { c.Rebalance.MaxPerSecond = math.Inf(1) },
		"rebalance.spread: 1m1s is too high, allowed: 0s to 1m":                                                 func(c *Config) { c.Rebalance.Spread = 61 * time.Second },
		"rebalance.weight: \"\" is none of connections, requests, streams":                                      func(c *Config) { c.Rebalance.Weight = "" },
		"peers.source: \"k8s\" is none of none, static, dns, kubernetes":                                        func(c *Config) { c.Peers.Source = "k8s" },
		"peers.static: is empty, but peers.source is static and needs it":                                       func(c *Config) { c.Peers.Source = SourceStatic },
		"peers.dns.name: is empty, but peers.source is dns and needs it":                                        func(c *Config) { c.Peers.Source = SourceDNS },
		"peers.kubernetes.service: is empty, but peers.source is kubernetes and needs it":                       func(c *Config) { c.Peers.Source = SourceKubernetes },
		"peers.static: entry 2: \"b:0\": port \"0\" is not from 1 to 65535":                                     func(c *Config) { c.Peers.Static = []string{"a", "b:0"} },
		"peers.static: entry 1 is empty":                                                                        func(c *Config) { c.Peers.Static = []string{""} },
		"peers.dns.name: \"dns:///hello.test:50051\": write the name alone, without dns:/// and without a port": func(c *Config) { c.Peers.DNS.Name = "dns:///hello.test:50051" },
		"clients.dns.name: \"hello.test:50051\": write the name without a port":                                 func(c *Config) { c.Clients.DNS.Name = "hello.test:50051" },
		"clients.dns.name: \"hello test\": not a domain name":                                                   func(c *Config) { c.Clients.DNS.Name = "hello test" },
		"peers.dns.server: \"10.0.0.10:dns\": port \"dns\" is not from 1 to 65535":                              func(c *Config) { c.Peers.DNS.Server = "10.0.0.10:dns" },
		"peers.kubernetes.service: \"Hello.svc\" is not a Kubernetes name: a to z, 0 to 9 and -, at most 63":    func(c *Config) { c.Peers.Kubernetes.Service = "Hello.svc" },
		"peers.port: -1 is too low, allowed: 0 to 65535":                                                        func(c *Config) { c.Peers.Port = -1 },
		"peers.salt: has 257 bytes, allowed: a text of at most 256 bytes":                                       func(c *Config) { c.Peers.Salt = strings.Repeat("x", 257) },
		"peers.tls.key: is empty, but peers.tls.cert is set and needs it":                                       func(c *Config) { c.Peers.TLS = PeersTLS{Cert: "c", CA: "a"} },
		"peers.tls.cert: is empty, but peers.tls.key is set and needs it":                                       func(c *Config) { c.Peers.TLS = PeersTLS{Key: "k", CA: "a"} },
		"shutdown.timeout: 0s is too low, allowed: 1s to 1h":                                                    func(c *Config) { c.Shutdown.Timeout = 0 },
	} {
		cfg := Default()
		change(&cfg)
		if got := messages(cfg.Validate()); len(got) != 1 || got[0] != want {
			t.Errorf("\ngot  %q\nwant %q", got, want)
		}
	}
}

// All that is missing is named, each by its own key.
func TestAllOfPeersTLSOrNone(t *testing.T) {
	for set, want := range map[string][]string{
		"peers.tls.ca": {
			"peers.tls.cert: is empty, but peers.tls.ca is set and needs it (-set)",
			"peers.tls.key: is empty, but peers.tls.ca is set and needs it (-set)",
		},
		"peers.tls.serverName": {
			"peers.tls.cert: is empty, but peers.tls.serverName is set and needs it (-set)",
			"peers.tls.key: is empty, but peers.tls.serverName is set and needs it (-set)",
			"peers.tls.ca: is empty, but peers.tls.serverName is set and needs it (-set)",
		},
	} {
		_, err := Load(Layers{Env: noEnv, Set: []string{set + "=x"}})
		if got := messages(err); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", set, got, want)
		}
	}
	cfg, err := Load(Layers{
		Env: []string{"EVENKEEL_PEERS_SALT=secret", "EVENKEEL_PEERS_TLS_SERVERNAME=pods.test"},
		Set: []string{"peers.tls.cert=c", "peers.tls.key=k", "peers.tls.ca=a"},
	})
	if want := (PeersTLS{Cert: "c", Key: "k", CA: "a", ServerName: "pods.test"}); err != nil || cfg.Peers.TLS != want || cfg.Peers.Salt != "secret" {
		t.Errorf("got %+v, %v", cfg.Peers, err)
	}
	if keys := RestartNeeded(Default(), cfg); len(keys) != 5 {
		t.Errorf("a restart is needed for %q, want all of them", keys)
	}
}

func TestValidateTakes(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"addresses of all forms": func(c *Config) {
			c.Peers.Source = SourceStatic
			c.Peers.Static = []string{"a", "a:1", "10.0.0.1", "10.0.0.1:65535", "::1", "[::1]", "[::1]:80", "a.b.", "fe80::1%eth0"}
		},
		"servers":           func(c *Config) { c.Peers.DNS.Server, c.Clients.DNS.Server = "10.0.0.10", "[fd00::a]:53" },
		"SRV names":         func(c *Config) { c.Peers.Source, c.Peers.DNS.Name = SourceDNS, "_grpc._tcp.hello.test." },
		"service alone":     func(c *Config) { c.Peers.Source, c.Peers.Kubernetes.Service = SourceKubernetes, "hello" },
		"gRPC's own zeros":  func(c *Config) { c.Policy = Policy{} },
		"at once":           func(c *Config) { c.Rebalance.Spread, c.Rebalance.Settle, c.Rebalance.Floor = 0, 0, 0 },
		"enabled, no peers": func(c *Config) { c.Rebalance.Enabled, c.Peers.Source = true, SourceNone },
	} {
		cfg := Default()
		change(&cfg)
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The zero Config is documented as not valid: it must say why, key by key.
func TestZeroConfigNamesWhatIsMissing(t *testing.T) {
	var keys []string
	for _, e := range Errors(fmt.Errorf("wrapped: %w", Config{}.Validate())) {
		keys = append(keys, e.Key)
	}
	want := []string{
		"rebalance.weight", "rebalance.tolerance", "rebalance.maxPerSecond", "rebalance.maxFractionPerMinute",
		"rebalance.cooldown", "peers.source", "peers.dns.interval", "shutdown.timeout",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("got %q", keys)
	}
}

func TestRestartNeeded(t *testing.T) {
	before := Default()
	after := before
	after.Policy.MaxConnectionAge = time.Hour
	after.Rebalance.Enabled = false
	if keys := RestartNeeded(before, after); len(keys) != 0 {
		t.Errorf("live keys want a restart: %q", keys)
	}
	after.Policy.KeepaliveTime = time.Minute
	after.Peers.Static = []string{"a"}
	after.Clients.DNS.Name = "hello.test"
	after.Shutdown.Timeout = time.Minute // must fit the grace that the pod was started with
	if got, want := RestartNeeded(before, after), []string{"policy.keepaliveTime", "peers.static", "clients.dns.name", "shutdown.timeout"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := len(ChangedKeys(before, after)); got != 6 {
		t.Errorf("%d changed keys, want 6", got)
	}
	before.Peers.Static, after = nil, before
	after.Peers.Static = []string{}
	if keys := ChangedKeys(before, after); len(keys) != 0 {
		t.Errorf("an empty list is not none: %q", keys)
	}
}

// drawConfig draws from all that the rules allow, ends included.
func drawConfig(t *rapid.T) Config {
	cfg := Default()
	words := rapid.SampledFrom([]string{"", "true", "null", "1", "1e3", "0x1f", "no", "~", "hello", "a-b", "2001"})
	for _, r := range rules {
		draw := func() any {
			switch l := r.limit.(type) {
			case durations:
				return time.Duration(rapid.Int64Range(int64(l.min), int64(l.max)).Draw(t, r.key))
			case between:
				return rapid.Float64Range(l.min, l.max).Draw(t, r.key)
			case upTo:
				return rapid.IntRange(0, int(l)).Draw(t, r.key)
			case oneOf:
				return rapid.SampledFrom(l).Draw(t, r.key)
			case boolean:
				return rapid.Bool().Draw(t, r.key)
			case addresses:
				one := rapid.SampledFrom([]string{"a", "b:1", "::1", "[::1]:80", "10.0.0.1", "1", "null", "true"})
				return rapid.SliceOfN(one, 1, 5).Draw(t, r.key)
			case text:
				return words.Draw(t, r.key)
			case file:
				return rapid.StringMatching(`[ -~\n\tä☃]{0,40}`).Draw(t, r.key)
			case dnsName, address, kubeName:
				text := words.Filter(func(s string) bool { return l.wrong(s) == "" })
				return text.Draw(t, r.key)
			}
			t.Fatalf("no values for %T", r.limit)
			return nil
		}
		conf.New(&cfg).Put(r.key, draw())
	}
	if tls := &cfg.Peers.TLS; tls.Cert == "" || tls.Key == "" || tls.CA == "" {
		*tls = PeersTLS{}
	}
	if cfg.Peers.DNS.Name == "" || cfg.Peers.Kubernetes.Service == "" {
		cfg.Peers.Source = SourceNone
	}
	return cfg
}

func TestAnyConfigSurvivesYAML(t *testing.T) {
	file := writeConfig(t, "")
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		if err := cfg.Validate(); err != nil {
			t.Fatalf("drawn out of range: %v", err)
		}
		text, err := cfg.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Load(Layers{File: file, Env: noEnv})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if keys := ChangedKeys(cfg, got); len(keys) != 0 {
			t.Fatalf("%q changed on the way\n%s", keys, text)
		}
	})
}

// FuzzYAML holds that any file ends in an error or a valid configuration, which
// can be written and read again.
func FuzzYAML(f *testing.F) {
	text, err := Default().YAML()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, seed := range []string{
		"", "a: &a [*a]", "rebalance: {tolerance: .nan}", "peers: {static: [a, b:1]}", "<<: {peers: {port: 1}}",
		"peers: &p {port: 1}\nclients: *p", "? [a]\n: 1", "--- 1\n--- 2", "peers: {port: !!int \"1\"}", "\xff\xfe", "%YAML 1.1\n---\npeers:",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := loadFrom(Layers{File: "f", Env: noEnv}, data, nil)
		if err != nil {
			if len(Errors(err)) == 0 || strings.Count(err.Error(), "\n")+1 != len(Errors(err)) {
				t.Fatalf("not one line for each error: %q", err)
			}
			return
		}
		if err := cfg.Validate(); err != nil {
			t.Fatalf("loaded, but not valid: %v", err)
		}
		out, err := cfg.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := loadFrom(Layers{File: "f", Env: noEnv}, out, nil)
		if err != nil || len(ChangedKeys(cfg, again)) != 0 {
			t.Fatalf("not read back: %v\n%s", err, out)
		}
	})
}
