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
)

// noEnv keeps the environment of the test run out of the tests.
var noEnv = []string{}

func writeConfig(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// messages lists errors as a person sees them, with file names cut to the last element.
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
		t.Fatalf("with nothing set: %+v, %v", cfg, err)
	}
}

// Without a rule, Validate would not check a key and RestartNeeded would not know it.
func TestEachKeyHasOneRule(t *testing.T) {
	var ruled []string
	for _, r := range rules {
		ruled = append(ruled, r.key)
	}
	if keys := conf.New(&Config{}).Keys(); !slices.Equal(ruled, keys) {
		t.Errorf("keys with a rule: %q\nall keys:         %q", ruled, keys)
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

// fiveErrors are the messages that docs/settings.md shows.
var fiveErrors = []string{
	`policy.maxConnectionAge: "30" has no unit, write 30s (config.yaml:2)`,
	`rebalance.tolerence: unknown key, did you mean rebalance.tolerance? (config.yaml:4)`,
	`peers.port: "8080" is text, write it without quotes (config.yaml:8)`,
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
		t.Errorf("the layers give %+v, want each to override the one before", r)
	}
	opts.Env = append(opts.Env, "EVENKEEL_PEERS_DNS_NAMES=x", "EVENKEEL_PEERS_PORT=99999")
	opts.Set = []string{"rebalance.enable=false", "rebalance.weight=cpu"}
	_, err = Load(opts)
	want := []string{
		"EVENKEEL_PEERS_DNS_NAMES: unknown name, did you mean EVENKEEL_PEERS_DNS_NAME? (environment)",
		"rebalance.enable: unknown key, did you mean rebalance.enabled? (-set)",
		`rebalance.weight: "cpu" is not one of connections, requests, streams (-set)`,
		"peers.port: 99999 is too high, allowed: 0 to 65535 (environment EVENKEEL_PEERS_PORT)",
		"shutdown.timeout: 0s is too low, allowed: 1s to 1h (config.yaml:2)",
	}
	if got := messages(err); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A misspelt key that protects pods is an error, also where other keys that do not exist are none.
// A key of another version is none there, either.
func TestMisspeltProtectionIsAnError(t *testing.T) {
	const some = "cert: a.pem, key: a.key, ca: ca.pem"
	for text, refused := range map[string]string{
		"peers: {tsl: {" + some + "}}":                   "did you mean peers.tls?",
		"peers: {mTLS: {" + some + "}}":                  "did you mean peers.tls?",
		"peer: {tls: {" + some + "}}":                    "did you mean peers?",
		"tls: {" + some + "}":                            "did you mean peers.tls?",
		"peers: {" + some + "}":                          "did you mean peers.tls.cert?",
		"peers: {tls: {crt: a, kay: b, cas: c}}":         "did you mean peers.tls.key?",
		"peers: {tls: {bundle: a.pem}}":                  "plain HTTP",
		"peers: {tls: {" + some + ", servername: a.b}}":  "did you mean peers.tls.serverName?",
		"peers: {slat: pepper}":                          "did you mean peers.salt?",
		"peers: {tls: {" + some + ", minVersion: 1.3}}":  "",
		"peers: {nextYear: 1, dns: {tls: true, key: a}}": "",
		"rebalance: {key: a}\nclients: {tls: {cert: a}}": "",
		"rebalance: {tolerence: 0.2}":                    "",
	} {
		warned := false
		_, err := Load(Layers{File: writeConfig(t, text), Env: noEnv, Unknown: func(err error) { warned = err != nil }})
		switch {
		case refused == "" && (err != nil || !warned):
			t.Errorf("%s: got %v, warned: %t; want only a warning", text, err, warned)
		case refused != "" && (err == nil || !strings.Contains(err.Error(), refused)):
			t.Errorf("%s: got %v, want an error with %q", text, err, refused)
		}
	}
	for name, refused := range map[string]bool{"EVENKEEL_PEERS_TLS_CRT": true, "EVENKEEL_PEER_TLS_CERT": true, "EVENKEEL_PEERS_TLS_NEXT": true, "EVENKEEL_PEERS_NEXT": false} {
		_, err := Load(Layers{Env: []string{name + "=x"}, Unknown: func(error) {}})
		if (err != nil) != refused {
			t.Errorf("%s: got %v, want an error: %t", name, err, refused)
		}
	}
}

func TestNilEnvIsTheEnvironmentOfTheProcess(t *testing.T) {
	t.Setenv("EVENKEEL_REBALANCE_SETTLE", "7s")
	if cfg, err := Load(Layers{}); err != nil || cfg.Rebalance.Settle != 7*time.Second {
		t.Errorf("with nil Env, settle is %v, %v, want 7s", cfg.Rebalance.Settle, err)
	}
	if cfg, err := Load(Layers{Env: noEnv}); err != nil || cfg.Rebalance.Settle != 2*time.Second {
		t.Errorf("with empty Env, settle is %v, %v, want 2s", cfg.Rebalance.Settle, err)
	}
}

// A file that cannot be read might set peers.dns.name, so the error must not say that the
// key is missing.
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
			t.Errorf("%s: errors for the keys %q: %v", name, keys, err)
		}
	}
}

func TestValidateMessages(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"policy.maxConnectionAge: 500ms is too low, allowed: 0, or 1s to 8760h":           func(c *Config) { c.Policy.MaxConnectionAge = 500 * time.Millisecond },
		"policy.maxConnectionAgeGrace: -1s is too low, allowed: 0, or 1s to 8760h":        func(c *Config) { c.Policy.MaxConnectionAgeGrace = -time.Second },
		"policy.keepaliveTime: 999ms is too low, allowed: 0, or 1s to 8760h":              func(c *Config) { c.Policy.KeepaliveTime = 999 * time.Millisecond },
		"policy.keepaliveTimeout: 2h is too high, allowed: 0, or 1s to 1h":                func(c *Config) { c.Policy.KeepaliveTimeout = 2 * time.Hour },
		"rebalance.tolerance: 0 is too low, allowed: 0.01 to 1":                           func(c *Config) { c.Rebalance.Tolerance = 0 },
		"rebalance.tolerance: NaN is too low, allowed: 0.01 to 1":                         func(c *Config) { c.Rebalance.Tolerance = math.NaN() },
		"rebalance.floor: 1 is too high, allowed: 0 to 0.95":                              func(c *Config) { c.Rebalance.Floor = 1 },
		"rebalance.maxPerSecond: +Inf is too high, allowed: 0.1 to 100000":                func(c *Config) { c.Rebalance.MaxPerSecond = math.Inf(1) },
		"rebalance.spread: 1m1s is too high, allowed: 0s to 1m":                           func(c *Config) { c.Rebalance.Spread = 61 * time.Second },
		"rebalance.warmup: 500ms is too low, allowed: 0, or 1s to 1h":                     func(c *Config) { c.Rebalance.Warmup = 500 * time.Millisecond },
		"rebalance.warmup: 1h0m1s is too high, allowed: 0, or 1s to 1h":                   func(c *Config) { c.Rebalance.Warmup = time.Hour + time.Second },
		"rebalance.weight: \"\" is not one of connections, requests, streams":             func(c *Config) { c.Rebalance.Weight = "" },
		"peers.source: \"k8s\" is not one of none, static, dns, kubernetes":               func(c *Config) { c.Peers.Source = "k8s" },
		"peers.static: is empty, but peers.source is static and needs it":                 func(c *Config) { c.Peers.Source = SourceStatic },
		"peers.dns.name: is empty, but peers.source is dns and needs it":                  func(c *Config) { c.Peers.Source = SourceDNS },
		"peers.kubernetes.service: is empty, but peers.source is kubernetes and needs it": func(c *Config) { c.Peers.Source = SourceKubernetes },
		"peers.static: entry 2: \"b:0\": port \"0\" is not from 1 to 65535":               func(c *Config) { c.Peers.Static = []string{"a", "b:0"} },
		"peers.static: entries 1 and 3: 10.0.0.1:8080 and ::ffff:10.0.0.1 are one address with two ports, but pods are told apart by their addresses: give each pod an address of its own": func(c *Config) {
			c.Peers.Static = []string{"10.0.0.1:8080", "10.0.0.1:8080", "::ffff:10.0.0.1"}
		},
		"peers.static: entry 1 is empty": func(c *Config) { c.Peers.Static = []string{""} },
		"peers.dns.name: \"dns:///hello.test:50051\": write the name alone, without dns:/// and without a port":      func(c *Config) { c.Peers.DNS.Name = "dns:///hello.test:50051" },
		"clients.dns.name: \"hello.test:50051\": write the name without a port":                                      func(c *Config) { c.Clients.DNS.Name = "hello.test:50051" },
		"clients.dns.name: \"hello test\": not a domain name":                                                        func(c *Config) { c.Clients.DNS.Name = "hello test" },
		"peers.dns.server: \"10.0.0.10:dns\": port \"dns\" is not from 1 to 65535":                                   func(c *Config) { c.Peers.DNS.Server = "10.0.0.10:dns" },
		"peers.kubernetes.service: \"Hello.svc\" is not a Kubernetes name, write at most 63 of a to z, 0 to 9 and -": func(c *Config) { c.Peers.Kubernetes.Service = "Hello.svc" },
		"peers.port: -1 is too low, allowed: 0 to 65535":                                                             func(c *Config) { c.Peers.Port = -1 },
		"peers.salt: has 257 bytes, allowed: a text of at most 256 bytes":                                            func(c *Config) { c.Peers.Salt = strings.Repeat("x", 257) },
		"peers.tls.key: is empty, but peers.tls.cert is set and needs it":                                            func(c *Config) { c.Peers.TLS = PeersTLS{Cert: "c", CA: "a"} },
		"peers.tls.cert: is empty, but peers.tls.key is set and needs it":                                            func(c *Config) { c.Peers.TLS = PeersTLS{Key: "k", CA: "a"} },
		"shutdown.timeout: 0s is too low, allowed: 1s to 1h":                                                         func(c *Config) { c.Shutdown.Timeout = 0 },
		"shutdown.minimum: -1s is too low, allowed: 0s to 59m":                                                       func(c *Config) { c.Shutdown.Minimum = -time.Second },
		"shutdown.minimum: 20s is not below shutdown.timeout (20s), which leaves no time to drain: raise shutdown.timeout, and terminationGracePeriodSeconds above it": func(c *Config) {
			c.Shutdown.Minimum = 20 * time.Second
		},
	} {
		cfg := Default()
		change(&cfg)
		if got := messages(cfg.Validate()); len(got) != 1 || got[0] != want {
			t.Errorf("\ngot  %q\nwant %q", got, want)
		}
	}
}

// Each file that is missing must be named by its own key.
func TestAllFilesOfPeersTLSOrNone(t *testing.T) {
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
		t.Errorf("a restart is needed for %q, want all 5 keys", keys)
	}
}

func TestValidateAccepts(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"all forms of addresses": func(c *Config) {
			c.Peers.Source = SourceStatic
			c.Peers.Static = []string{"a", "b:1", "10.0.0.1", "10.0.0.2:65535", "::1", "[::1]", "[::2]:80", "a.b.", "fe80::1%eth0"}
		},
		"servers":           func(c *Config) { c.Peers.DNS.Server, c.Clients.DNS.Server = "10.0.0.10", "[fd00::a]:53" },
		"SRV names":         func(c *Config) { c.Peers.Source, c.Peers.DNS.Name = SourceDNS, "_grpc._tcp.hello.test." },
		"service alone":     func(c *Config) { c.Peers.Source, c.Peers.Kubernetes.Service = SourceKubernetes, "hello" },
		"a policy of zeros": func(c *Config) { c.Policy = Policy{} },
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

// The zero Config is documented as not valid: Validate must name each key.
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
		t.Errorf("got errors for %q, want %q", keys, want)
	}
}

func TestRestartNeeded(t *testing.T) {
	before := Default()
	after := before
	after.Policy.MaxConnectionAge = time.Hour
	after.Rebalance.Enabled = false
	if keys := RestartNeeded(before, after); len(keys) != 0 {
		t.Errorf("a restart is needed for the live keys %q", keys)
	}
	after.Policy.KeepaliveTime = time.Minute
	after.Peers.Static = []string{"a"}
	after.Clients.DNS.Name = "hello.test"
	after.Shutdown.Timeout = time.Minute // must fit the grace period of the pod
	if got, want := RestartNeeded(before, after), []string{"policy.keepaliveTime", "peers.static", "clients.dns.name", "shutdown.timeout"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := len(ChangedKeys(before, after)); got != 6 {
		t.Errorf("%d changed keys, want 6", got)
	}
	before.Peers.Static, after = nil, before
	after.Peers.Static = []string{}
	if keys := ChangedKeys(before, after); len(keys) != 0 {
		t.Errorf("an empty list differs from nil: %q", keys)
	}
}
