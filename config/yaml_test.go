package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawConfig draws values that the rules allow, including the limits.
func drawConfig(t *rapid.T) Config {
	cfg := Default()
	words := rapid.SampledFrom([]string{"", "true", "null", "1", "1e3", "0x1f", "no", "~", "hello", "a-b", "2001", "<<", "="})
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
				one := rapid.SampledFrom([]string{"a", "b:1", "::1", "[::2]:80", "10.0.0.1", "1", "null", "true"})
				return rapid.SliceOfN(one, 1, 5).Draw(t, r.key)
			case text:
				return words.Draw(t, r.key)
			case file:
				return rapid.StringMatching(`[ -~\n\tä☃]{0,40}`).Draw(t, r.key)
			case dnsName, certName, address, kubeName:
				text := words.Filter(func(s string) bool { return l.wrong(s) == "" })
				return text.Draw(t, r.key)
			}
			t.Fatalf("no values for %T", r.limit)
			return nil
		}
		put(t, reflect.ValueOf(&cfg).Elem(), r.key, draw())
	}
	if tls := &cfg.Peers.TLS; tls.Cert == "" || tls.Key == "" || tls.CA == "" {
		*tls = PeersTLS{}
	}
	if cfg.Peers.DNS.Name == "" || cfg.Peers.Kubernetes.Service == "" {
		cfg.Peers.Source = SourceNone
	}
	if cfg.Shutdown.Minimum >= cfg.Shutdown.Timeout {
		cfg.Shutdown.Minimum = 0
	}
	return cfg
}

// put sets the field of v with the given key.
func put(t *rapid.T, v reflect.Value, key string, value any) {
	name, rest, nested := strings.Cut(key, ".")
	for i := range v.NumField() {
		switch {
		case v.Type().Field(i).Tag.Get("json") != name:
		case nested:
			put(t, v.Field(i), rest, value)
			return
		default:
			v.Field(i).Set(reflect.ValueOf(value))
			return
		}
	}
	t.Fatalf("no field for %s", key)
}

func TestAnyConfigSurvivesYAML(t *testing.T) {
	file := writeConfig(t, "")
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		if err := cfg.Validate(); err != nil {
			t.Fatalf("drew an invalid configuration: %v", err)
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
			t.Fatalf("the values of %q changed\n%s", keys, text)
		}
	})
}

// FuzzYAML checks that any file gives either errors of one line each, or a valid
// configuration that can be written and read again.
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
				t.Fatalf("want one line for each error: %q", err)
			}
			return
		}
		if err := cfg.Validate(); err != nil {
			t.Fatalf("Load accepted an invalid configuration: %v", err)
		}
		out, err := cfg.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := loadFrom(Layers{File: "f", Env: noEnv}, out, nil)
		if err != nil || len(ChangedKeys(cfg, again)) != 0 {
			t.Fatalf("the YAML does not read back: %v\n%s", err, out)
		}
	})
}
