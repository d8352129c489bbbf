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

// flatten puts the leaves of a tree under their dotted keys.
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

// keysOf are the configuration's keys with their types, by the struct that the server
// fills.
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

// schemaKeys are the leaves of a schema's properties; every object must be closed.
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

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, key := range got {
		if !slices.Contains(want, key) {
			t.Errorf("%s has %s, which is none", what, key)
		}
	}
	for _, key := range want {
		if !slices.Contains(got, key) {
			t.Errorf("%s lacks %s", what, key)
		}
	}
}

// values.yaml, its schema and the server know the same keys: all of them, and no other.
func TestConfigurationKeys(t *testing.T) {
	want := slices.Sorted(maps.Keys(configKeys()))
	given := flatten("", sub(t, parse(t, read(t, chartDir+"/values.yaml")), "evenkeel"), values{})
	same(t, "values.yaml", slices.Sorted(maps.Keys(given)), want)
	known := schemaKeys(t, "", sub(t, schema(t), "properties", "evenkeel"), values{})
	same(t, "values.schema.json", slices.Sorted(maps.Keys(known)), want)
}

// loadRendered reads the rendered config.yaml as the server does.
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
	t.Fatal("no config.yaml")
	return config.Config{}
}

// The chart's defaults are the library's, save what only the chart can know.
func TestConfigurationDefaults(t *testing.T) {
	want := config.Default()
	want.Peers.Source = config.SourceKubernetes
	want.Peers.Kubernetes.Service = release + "-headless"
	if got := loadRendered(t, values{}); !equalConfig(t, got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
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

// Whatever the ci values ask for, the server's own strict loader takes it.
func TestConfigurationLoads(t *testing.T) {
	eachCI(t, func(t *testing.T, v values) {
		if v["enabled"] != false {
			loadRendered(t, v)
		}
	})
	cfg := loadRendered(t, parse(t, read(t, chartDir+"/ci/dns-values.yaml")))
	if cfg.Rebalance.MaxStreams != 10_000_000 || cfg.Peers.DNS.Name != "hello-headless.shop.svc" || cfg.Shutdown.Timeout != 90*time.Second {
		t.Errorf("%+v", cfg)
	}
}

// Every duration without a unit is refused with what to write instead.
func TestDurationsNeedUnits(t *testing.T) {
	n := 0
	for key, typ := range configKeys() {
		if typ != reflect.TypeFor[time.Duration]() {
			continue
		}
		n++
		_, err := tryRender(t, nest("evenkeel."+key, 7.0))
		if want := "evenkeel." + key + ": 7 has no unit, write 7s"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
		if _, err := tryRender(t, nest("evenkeel."+key, "1m.5x")); err == nil || !strings.Contains(err.Error(), "does not match pattern") {
			t.Errorf("%s: %v", key, err)
		}
		// 0 needs no unit; whether it is in range is another matter.
		if _, err := tryRender(t, nest("evenkeel."+key, 0.0)); err != nil && strings.Contains(err.Error(), "has no unit") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if n < 10 {
		t.Errorf("%d durations", n)
	}
}

// nest is a tree with one leaf.
func nest(path string, leaf any) values {
	head, rest, more := strings.Cut(path, ".")
	if !more {
		return values{head: leaf}
	}
	return values{head: nest(rest, leaf)}
}
