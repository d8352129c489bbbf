package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

const (
	chartDir    = "../../chart"
	consumerDir = "../../example/chart"
	sidecarDir  = "../../example/sidecar"

	release   = "hello"
	namespace = "shop"
)

type values = map[string]any

// parse parses values written as YAML.
func parse(t *testing.T, text string) values {
	t.Helper()
	v := values{}
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func load(t *testing.T, dir string) *v2.Chart {
	t.Helper()
	c, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// renderFiles returns the rendered text of each template of a chart, or the error with which
// helm would fail.
func renderFiles(c *v2.Chart, name string, v values) (map[string]string, error) {
	if err := chartutil.ProcessDependencies(c, v); err != nil {
		return nil, err
	}
	opts := common.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(c, v, opts, nil)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// tryRender returns all manifests of the chart as one text.
func tryRender(t *testing.T, v values) (string, error) {
	t.Helper()
	files, err := renderFiles(load(t, chartDir), release, v)
	return manifests(files), err
}

func render(t *testing.T, v values) string {
	t.Helper()
	text, err := tryRender(t, v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func notes(t *testing.T, v values) string {
	t.Helper()
	files, err := renderFiles(load(t, chartDir), release, v)
	if err != nil {
		t.Fatal(err)
	}
	return files["evenkeel/templates/NOTES.txt"]
}

func manifests(files map[string]string) string {
	var out strings.Builder
	for _, name := range slices.Sorted(mapKeys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			fmt.Fprintf(&out, "---\n%s\n", files[name])
		}
	}
	return out.String()
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// eachCI runs f for each of the chart's ci values.
func eachCI(t *testing.T, f func(t *testing.T, v values)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("got %d files of ci values, want at least 10: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), "-values.yaml"), func(t *testing.T) {
			f(t, parse(t, read(t, file)))
		})
	}
}
