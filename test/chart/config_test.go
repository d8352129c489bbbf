package chart

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	corev1 "k8s.io/api/core/v1"
)

// flatten adds the leaves of a tree to into, under their dotted keys.
func flatten(prefix string, tree values, into values) values {
	for k, v := range tree {
		if sub, ok := v.(values); ok {
			flatten(prefix+k+".", sub, into)
		} else {
			into[prefix+k] = v
		}
	}
	return into
}

func sub(t *testing.T, tree values, path ...string) values {
	t.Helper()
	for _, key := range path {
		next, ok := tree[key].(values)
		if !ok {
			t.Fatalf("nothing at %v", path)
		}
		tree = next
	}
	return tree
}

// keysOf adds the dotted keys of a struct type and their types to into. The names are those
// of the JSON tags, which the server's loader reads.
func keysOf(prefix string, typ reflect.Type, into map[string]reflect.Type) map[string]reflect.Type {
	for f := range typ.Fields() {
		key := prefix + strings.Split(f.Tag.Get("json"), ",")[0]
		if f.Type.Kind() == reflect.Struct {
			keysOf(key+".", f.Type, into)
		} else {
			into[key] = f.Type
		}
	}
	return into
}

func configKeys() map[string]reflect.Type {
	return keysOf("", reflect.TypeFor[config.Config](), map[string]reflect.Type{})
}

// schemaKeys adds the leaves of a schema's properties to into, under their dotted keys. It
// fails t if an object with properties accepts others.
func schemaKeys(t *testing.T, prefix string, schema values, into values) values {
	t.Helper()
	for k, v := range sub(t, schema, "properties") {
		p, _ := v.(values)
		if p["properties"] == nil {
			into[prefix+k] = p
			continue
		}
		if p["additionalProperties"] != false {
			t.Errorf("%s%s: additionalProperties is not false", prefix, k)
		}
		schemaKeys(t, prefix+k+".", p, into)
	}
	return into
}

func schema(t *testing.T) values {
	t.Helper()
	s := values{}
	if err := json.Unmarshal([]byte(read(t, chartDir+"/values.schema.json")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// sameKeys fails t for every key that file has too many or too few.
func sameKeys(t *testing.T, file string, got, want []string) {
	t.Helper()
	for _, key := range got {
		if !slices.Contains(want, key) {
			t.Errorf("%s has the unknown key %s", file, key)
		}
	}
	for _, key := range want {
		if !slices.Contains(got, key) {
			t.Errorf("%s lacks the key %s", file, key)
		}
	}
}

// values.yaml and its schema must have exactly the keys of the server's configuration.
func TestConfigurationKeys(t *testing.T) {
	want := slices.Sorted(maps.Keys(configKeys()))
	given := flatten("", sub(t, parse(t, read(t, chartDir+"/values.yaml")), "evenkeel"), values{})
	sameKeys(t, "values.yaml", slices.Sorted(maps.Keys(given)), want)
	known := schemaKeys(t, "", sub(t, schema(t), "properties", "evenkeel"), values{})
	sameKeys(t, "values.schema.json", slices.Sorted(maps.Keys(known)), want)
}

// loadRendered loads the rendered config.yaml as the server does.
func loadRendered(t *testing.T, v values) config.Config {
	t.Helper()
	for key, obj := range decode(t, render(t, v)) {
		cm, ok := obj.(*corev1.ConfigMap)
		if !ok || cm.Data["config.yaml"] == "" {
			continue
		}
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(cm.Data["config.yaml"]), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Layers{File: file, Env: []string{}})
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
		return cfg
	}
	t.Fatal("no ConfigMap has a config.yaml")
	return config.Config{}
}

// The chart has the library's defaults, except for values that only the chart can know.
func TestConfigurationDefaults(t *testing.T) {
	want := config.Default()
	want.Peers.Source = config.SourceKubernetes
	want.Peers.Kubernetes.Service = release + "-headless"
	if got := loadRendered(t, values{}); !equalConfig(t, got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Where a value is that of the library, config.yaml does not have it: a server of another
// version might not know the key.
func TestOnlyDifferencesAreRendered(t *testing.T) {
	for _, tc := range []struct{ values, want string }{
		{"{}", "peers:\n  kubernetes:\n    service: hello-headless\n  source: kubernetes\n"},
		{"evenkeel: {peers: {source: none}}", "{}\n"},
		{"evenkeel: {peers: {source: none}, rebalance: {settle: 2000ms, spread: null, floor: 0.70, maxStreams: 0}}", "{}\n"},
		{"evenkeel: {peers: {source: none}, rebalance: {floor: 0, enabled: false}}", "rebalance:\n  enabled: false\n  floor: 0\n"},
		{"evenkeel: {peers: {source: none}, rebalance: {settle: 0, maxStreams: 10000000}}", "rebalance:\n  maxStreams: 10000000\n  settle: 0\n"},
	} {
		cm := get[*corev1.ConfigMap](t, decode(t, render(t, parse(t, tc.values))), "ConfigMap hello")
		if got := strings.TrimSpace(cm.Data["config.yaml"]); got != strings.TrimSpace(tc.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.values, got, tc.want)
		}
	}
}

func equalConfig(t *testing.T, a, b config.Config) bool {
	t.Helper()
	x, errX := a.YAML()
	y, errY := b.YAML()
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	return string(x) == string(y)
}

// The server's own strict loader must accept the configuration of all ci values.
func TestConfigurationLoads(t *testing.T) {
	eachCI(t, func(t *testing.T, v values) {
		if v["enabled"] != false {
			loadRendered(t, v)
		}
	})
	cfg := loadRendered(t, parse(t, read(t, chartDir+"/ci/dns-values.yaml")))
	if cfg.Rebalance.MaxStreams != 10_000_000 || cfg.Peers.DNS.Name != "hello-headless.shop.svc" || cfg.Shutdown.Timeout != 90*time.Second {
		t.Errorf("ci/dns-values.yaml: loaded %+v", cfg)
	}
}

// Rendering must refuse every duration without a unit, and say what to write instead.
func TestDurationsNeedUnits(t *testing.T) {
	n := 0
	for key, typ := range configKeys() {
		if typ != reflect.TypeFor[time.Duration]() {
			continue
		}
		n++
		_, err := tryRender(t, nest("evenkeel."+key, 7.0))
		if want := "evenkeel." + key + ": 7 has no unit, write 7s"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
		if _, err := tryRender(t, nest("evenkeel."+key, "1m.5x")); err == nil || !strings.Contains(err.Error(), "does not match pattern") {
			t.Errorf("%s: 1m.5x: got error %v, want a mismatch of the pattern", key, err)
		}
		// 0 needs no unit. It may still be out of range, which is another error.
		if _, err := tryRender(t, nest("evenkeel."+key, 0.0)); err != nil && strings.Contains(err.Error(), "has no unit") {
			t.Errorf("%s: 0 was refused for its unit: %v", key, err)
		}
	}
	if n < 10 {
		t.Errorf("got %d durations, want at least 10", n)
	}
}

// nest returns a tree with one leaf at a dotted path.
func nest(path string, leaf any) values {
	head, rest, more := strings.Cut(path, ".")
	if !more {
		return values{head: leaf}
	}
	return values{head: nest(rest, leaf)}
}
