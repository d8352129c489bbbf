//go:build linux && e2e

package alerts

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

var fire = flag.Bool("alerts", false, "fire the alerts, which takes minutes")

// brokenRepository is the image of the server in broken.
const brokenRepository = "e2e.local/broken"

func TestMain(m *testing.M) {
	flag.Parse()
	cluster.Images = append(cluster.Images, cluster.Image{
		Tag: brokenRepository + ":" + cluster.ImageTag, Module: "test/k8s", Package: "./alerts/broken", Program: "broken",
	})
	os.Exit(cluster.Main(m))
}

// Each alert of the chart, but for notFired, must fire by the fault that it is for, once for the
// release, with a text that is whole, and end when the fault has. Before, and for other faults, it
// must be silent.
//
// Prometheus is real, and so are the rules, but for their times: see shorten.
//
//	make alerts
func TestAlertsFire(t *testing.T) {
	if !*fire {
		t.Skip("this takes minutes, make alerts runs it")
	}
	c := cluster.Up(t, cluster.Options{})
	p := startPrometheus(t, c)
	rec := &record{rows: map[string]*row{}}
	t.Run("all", func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t, p, rec)
			})
		}
	})
	outage.run(t, p, rec) // last and alone, since nothing else works meanwhile
	rec.print(t, chartAlerts(t, c))
}

// scenario is one fault and the alerts that it must fire.
type scenario struct {
	name string
	// cause is what is wrong, for the table.
	cause string
	// alerts must all fire, and no other. Those in may are not waited for.
	alerts, may []string
	settings    []string
	// prepare makes what the release needs before it is installed.
	prepare func(t *testing.T, r *release)
	// fault causes the fault after a while in which no alert fires. Without it, the fault is there
	// from the start.
	fault func(t *testing.T, r *release)
	// mend ends the fault. Without it, the end is not awaited.
	mend func(t *testing.T, r *release)
	// within bounds the time until the alerts fire.
	within time.Duration
}

func (s *scenario) run(t *testing.T, p *prometheus, rec *record) {
	begun := time.Now()
	r := install(t, p, s.prepare, s.settings...)
	if s.fault != nil {
		p.scraped(t, r.ns, replicas)
		p.quiet(t, r.ns)
		begun = time.Now()
		s.fault(t, r)
	}
	var fired []alert
	for _, name := range s.alerts {
		a := s.await(t, p, r, name)
		rec.add(t, s, &a, time.Since(begun))
		fired = append(fired, a)
	}
	s.noOther(t, p, r)
	if s.mend == nil {
		return
	}
	begun = time.Now()
	s.mend(t, r)
	for i := range fired {
		name := fired[i].name()
		p.c.Eventually(t, name+" ends", 3*time.Minute, func(ctx context.Context) (bool, error) {
			all, err := p.firing(ctx, r.ns, name)
			return len(all) == 0, err
		})
		rec.ended(t, s, name, time.Since(begun))
	}
}

// await waits until the alert fires. It must be a single one, and its text must be whole.
func (s *scenario) await(t *testing.T, p *prometheus, r *release, name string) (fired alert) {
	t.Helper()
	limit := max(s.within, 5*time.Minute)
	p.c.Eventually(t, name+" fires", limit, func(ctx context.Context) (bool, error) {
		all, err := p.firing(ctx, r.ns, name)
		if len(all) == 0 {
			return false, err
		}
		if fired = all[0]; len(all) > 1 {
			t.Errorf("%s fires %d times, want once: %v", name, len(all), all)
		}
		return true, err
	})
	for _, text := range []string{fired.Annotations["summary"], fired.Annotations["description"]} {
		if text == "" || strings.Contains(text, "<no value>") || strings.Contains(text, "error") && strings.Contains(text, "template") {
			t.Errorf("%s has the text %q", name, text)
		}
	}
	if fired.Labels["release"] != "hello" || fired.Labels["severity"] == "" {
		t.Errorf("%s has the labels %v", name, fired.Labels)
	}
	return fired
}

// noOther fails t if the fault fires an alert that it should not.
func (s *scenario) noOther(t *testing.T, p *prometheus, r *release) {
	t.Helper()
	var all []alert
	p.c.Eventually(t, "Prometheus answers", time.Minute, func(ctx context.Context) (ok bool, err error) {
		all, err = p.firing(ctx, r.ns, "")
		return err == nil, err
	})
	for i := range all {
		if name := all[i].name(); !slices.Contains(s.alerts, name) && !slices.Contains(s.may, name) {
			t.Errorf("%s fires too: %s", name, all[i].Annotations["description"])
		}
	}
}

// record collects what fired.
type record struct {
	mu   sync.Mutex
	rows map[string]*row // by alert and cause
}

type row struct {
	alert, cause string
	took, ended  time.Duration
}

func (rec *record) add(t *testing.T, s *scenario, a *alert, took time.Duration) {
	t.Helper()
	labels := maps.Clone(a.Labels)
	delete(labels, "alertname")
	t.Logf("FIRING %s after %.0f s, value %s, labels %v\n    %s: %s", a.name(), took.Seconds(), a.Value, labels,
		a.Annotations["summary"], a.Annotations["description"])
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.rows[a.name()+" "+s.name] = &row{alert: a.name(), cause: s.cause, took: took}
}

func (rec *record) ended(t *testing.T, s *scenario, name string, took time.Duration) {
	t.Helper()
	t.Logf("RESOLVED %s, %.0f s after its cause was undone", name, took.Seconds())
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.rows[name+" "+s.name].ended = took
}

// print prints the table of docs/production.md. Each alert of the chart must be in it.
func (rec *record) print(t *testing.T, all []string) {
	t.Helper()
	fired := map[string]bool{}
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(rec.rows)) {
		r := rec.rows[key]
		fired[r.alert] = true
		ended := "not awaited"
		if r.ended > 0 {
			ended = fmt.Sprintf("%.0f s", r.ended.Seconds())
		}
		lines = append(lines, fmt.Sprintf("| %s | %s | %.0f s | %s |", r.alert, r.cause, r.took.Seconds(), ended))
	}
	for _, name := range all {
		if why := notFired[name]; why != "" {
			t.Logf("%s has not been fired: %s", name, why)
		} else if !fired[name] {
			t.Errorf("%s has not fired", name)
		}
	}
	t.Logf("times in the rules are divided by %d, windows but %v, holds but %v\n%s", usualFactor, windowFactors, holdFactors, strings.Join(lines, "\n"))
}
