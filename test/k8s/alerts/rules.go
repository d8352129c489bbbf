// Package alerts fires the alerts of the chart for real: in a cluster, with a real Prometheus, by
// the fault that the alert is for. docs/production.md has what came of it.
package alerts

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// usualFactor is by how much the times in the rules are shortened, so that half an hour is half
// a minute.
const usualFactor = 60

// windowFactors and holdFactors have the alerts that another factor fits better: for the windows
// in the expression, and for the time for which it must hold.
var (
	windowFactors = map[string]int{"EvenkeelStuck": 30}         // it must hold several scrapes
	holdFactors   = map[string]int{"EvenkeelSwitchedOff": 1440} // a day is a minute
)

// rule is an alert as Prometheus reads it.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// group is a group of rules, in a PrometheusRule and in a file of Prometheus.
type group struct {
	Name  string `json:"name"`
	Rules []rule `json:"rules"`
}

// endpoint is what a PodMonitor says of the port to scrape.
type endpoint struct {
	Port   string `json:"port"`
	Path   string `json:"path"`
	Scheme string `json:"scheme"`
}

// manifest is what the test needs of a PrometheusRule or a PodMonitor.
type manifest struct {
	Kind string `json:"kind"`
	Spec struct {
		Groups              []group    `json:"groups"`
		PodMetricsEndpoints []endpoint `json:"podMetricsEndpoints"`
		Selector            struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
	} `json:"spec"`
}

// monitoring is what a release asks of Prometheus.
type monitoring struct {
	groups   []group
	endpoint endpoint
	labels   map[string]string
}

// parse reads the PrometheusRule and the PodMonitor that Helm has rendered.
func parse(rendered string) (m monitoring, err error) {
	for text := range strings.SplitSeq(rendered, "\n---\n") {
		var one manifest
		if err := yaml.Unmarshal([]byte(text), &one); err != nil {
			return m, fmt.Errorf("%w in:\n%s", err, text)
		}
		switch one.Kind {
		case "PrometheusRule":
			m.groups = one.Spec.Groups
		case "PodMonitor":
			m.endpoint, m.labels = one.Spec.PodMetricsEndpoints[0], one.Spec.Selector.MatchLabels
		}
	}
	if len(m.groups) == 0 || m.endpoint.Port == "" {
		return m, fmt.Errorf("no PrometheusRule or no PodMonitor in:\n%s", rendered)
	}
	return m, nil
}

var (
	windows   = regexp.MustCompile(`\[[^]]+\]`)
	durations = regexp.MustCompile(`\d+[smhd]`)
	units     = map[byte]int{'s': 1000, 'm': 60_000, 'h': 3_600_000, 'd': 86_400_000}
)

// shorten divides the time for which the alert must hold, and its windows. It changes nothing
// else.
func shorten(r rule) rule {
	r.For = divide(r.For, cmp.Or(holdFactors[r.Alert], usualFactor))
	by := cmp.Or(windowFactors[r.Alert], usualFactor)
	r.Expr = windows.ReplaceAllStringFunc(r.Expr, func(w string) string { return divide(w, by) })
	return r
}

// divide divides each duration in text, down to a second.
func divide(text string, by int) string {
	return durations.ReplaceAllStringFunc(text, func(d string) string {
		n, _ := strconv.Atoi(d[:len(d)-1]) // the expression matches nothing else
		return strconv.Itoa(max(1000, n*units[d[len(d)-1]]/by)) + "ms"
	})
}
