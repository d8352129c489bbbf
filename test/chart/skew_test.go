package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/conf"
	corev1 "k8s.io/api/core/v1"
)

// The version before this one lacks the key rebalance.dryRun, and the one after it has
// rebalance.nextYear as well.
const (
	before = "before"
	same   = "same"
	after  = "after"
)

// library returns the configuration of a version, with its defaults.
func library(version string) any {
	all := reflect.TypeFor[config.Config]()
	rebalance := structOf(reflect.TypeFor[config.Rebalance](), func(f reflect.StructField) *reflect.StructField {
		if version == before && f.Name == "DryRun" {
			return nil
		}
		return &f
	}, version == after)
	cfg := reflect.New(structOf(all, func(f reflect.StructField) *reflect.StructField {
		if f.Name == "Rebalance" {
			f.Type = rebalance
		}
		return &f
	}, false))
	copyFields(cfg.Elem(), reflect.ValueOf(config.Default()))
	return cfg.Interface()
}

func structOf(typ reflect.Type, change func(reflect.StructField) *reflect.StructField, more bool) reflect.Type {
	var fields []reflect.StructField
	for f := range typ.Fields() {
		if g := change(f); g != nil {
			g.Offset, g.Index = 0, nil
			fields = append(fields, *g)
		}
	}
	if more {
		fields = append(fields, reflect.StructField{Name: "NextYear", Type: reflect.TypeFor[int](), Tag: `json:"nextYear"`})
	}
	return reflect.StructOf(fields)
}

func copyFields(to, from reflect.Value) {
	for i := range to.NumField() {
		src := from.FieldByName(to.Type().Field(i).Name)
		switch {
		case !src.IsValid():
		case src.Type() == to.Field(i).Type():
			to.Field(i).Set(src)
		default:
			copyFields(to.Field(i), src)
		}
	}
}

// chartOf returns the folder of a copy of the chart, as another version would have it.
func chartOf(t *testing.T, version string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "evenkeel")
	if err := os.CopyFS(dir, os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	edit := func(file, old, text string) {
		t.Helper()
		path := filepath.Join(dir, file)
		was := read(t, path)
		if !strings.Contains(was, old) {
			t.Fatalf("%s has no %q", file, old)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(was, old, text, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	switch version {
	case before:
		edit("values.yaml", "    dryRun: false\n", "")
		edit("values.schema.json", `"dryRun"`, `"oldKey"`)
		edit("templates/_warnings.tpl", "$v.evenkeel.rebalance.dryRun", "false")
	case after:
		edit("values.yaml", "    dryRun: false\n", "    dryRun: false\n    nextYear: 0\n")
		edit("values.schema.json", `"dryRun"`, `"nextYear": {"type": "integer"}, "dryRun"`)
	}
	return dir
}

// Every version of the chart starts every version of the library. A key that the library does
// not know is a warning, and is there only if it was set to something else than the default.
func TestSkewOfChartAndLibrary(t *testing.T) {
	var table strings.Builder
	for _, tc := range []struct {
		values  string
		charts  []string        // that have this value
		unknown map[string]bool // to these libraries
	}{
		{"evenkeel: {rebalance: {settle: 5s}}", []string{before, same, after}, nil},
		{"evenkeel: {rebalance: {dryRun: true}}", []string{same, after}, map[string]bool{before: true}},
		{"evenkeel: {rebalance: {nextYear: 7}}", []string{after}, map[string]bool{before: true, same: true}},
	} {
		for _, chart := range tc.charts {
			files, err := renderFiles(load(t, chartOf(t, chart)), release, parse(t, tc.values))
			if err != nil {
				t.Fatal(err)
			}
			text := get[*corev1.ConfigMap](t, decode(t, manifests(files)), "ConfigMap hello").Data["config.yaml"]
			for _, version := range []string{before, same, after} {
				tree := conf.New(library(version))
				if !tree.YAML("config.yaml", []byte(text)) || tree.Wrong() != nil {
					t.Errorf("chart %s with %s does not start library %s: %v", chart, tc.values, version, tree.Wrong())
				}
				if got := tree.Unknown() != nil; got != tc.unknown[version] {
					t.Errorf("chart %s with %s, library %s: got unknown keys %v, want some %t", chart, tc.values, version, tree.Unknown(), tc.unknown[version])
				}
				fmt.Fprintf(&table, "chart %-6s library %-6s %-38s unknown: %v\n", chart, version, tc.values, tree.Unknown())
			}
		}
	}
	t.Logf("\n%s", &table)
}

// The variables that the chart sets are settings of this version, or none that a version
// reads as one: an older library must not stumble over them.
func TestVariablesOfTheChartAreNoUnknownKeys(t *testing.T) {
	text := render(t, parse(t, "peersSalt: {create: true}"))
	var names []string
	for line := range strings.Lines(text) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), "- name: EVENKEEL_"); ok {
			names = append(names, "EVENKEEL_"+name+"=x")
		}
	}
	if !slices.Contains(names, "EVENKEEL_SWITCH=x") || !slices.Contains(names, "EVENKEEL_PEERS_SALT=x") {
		t.Fatalf("the chart sets %q", names)
	}
	for _, version := range []string{before, same, after} {
		tree := conf.New(library(version))
		tree.Environ(config.EnvPrefix, names)
		if err := tree.Err(); err != nil {
			t.Errorf("library %s: %v", version, err)
		}
	}
}
