package chart

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/helm-unittest/helm-unittest/pkg/unittest"
	"github.com/helm-unittest/helm-unittest/pkg/unittest/printer"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
)

// The chart must pass `helm lint --strict` with all ci values.
func TestLint(t *testing.T) {
	eachCI(t, func(t *testing.T, v values) {
		for _, m := range lint.RunAll(chartDir, v, namespace).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", m.Path, m.Err)
			}
		}
	})
}

// TestSuites runs the suites in chart/tests with helm-unittest, which renders with Helm 3.
func TestSuites(t *testing.T) {
	dir, err := filepath.Abs(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	plain := false
	runner := unittest.TestRunner{
		Printer:        printer.NewPrinter(&out, &plain),
		Strict:         true,
		TestFiles:      []string{"tests/*_test.yaml"},
		ChartTestsPath: "tests-chart", // does not exist, because the suites are not templates
	}
	defer func() { t.Log(out.String()) }()
	if !runner.RunV3([]string{dir}) {
		t.Errorf("\n%s", out.String())
	}
}
