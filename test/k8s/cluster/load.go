//go:build linux

package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// HealthPort is the example server's health port, the chart's default.
const HealthPort = "8080"

// Status is the part of a pod's /statusz that tests use.
type Status struct {
	Pod         string            `json:"pod"`
	Connections int               `json:"connections"`
	Load        float64           `json:"load"`
	GoAways     map[string]uint64 `json:"goaways"`
	Planned     map[string]uint64 `json:"planned"`
	Enabled     bool              `json:"enabled"`
	DryRun      bool              `json:"dryRun"`
	Verdict     string            `json:"verdict"`
	Why         string            `json:"why"`
	Peers       []struct {
		Pod   string `json:"pod"`
		Ready bool   `json:"ready"`
	} `json:"peers"`
	Conditions []struct {
		Code     string `json:"code"`
		Severity string `json:"severity"`
		Text     string `json:"text"`
	} `json:"conditions"`
	Decisions []struct {
		Action string `json:"action"`
		Why    string `json:"why"`
		Count  int    `json:"count"`
	} `json:"decisions"`
}

// Text returns the verdict and the conditions as sentences, for tests that search for a cause.
func (s *Status) Text() string {
	all := []string{s.Verdict + ": " + s.Why}
	for _, cond := range s.Conditions {
		all = append(all, cond.Code+": "+cond.Text)
	}
	return strings.Join(all, "\n")
}

// Sent returns the number of GOAWAYs sent for the reasons, or for any reason if none is given.
func (s *Status) Sent(reasons ...string) (n int) {
	for reason, count := range s.GoAways {
		if len(reasons) == 0 || strings.Contains(" "+strings.Join(reasons, " ")+" ", " "+reason+" ") {
			n += int(count)
		}
	}
	return n
}

// Knows reports whether the given pod is among the ready peers.
func (s *Status) Knows(pod string) bool {
	for _, p := range s.Peers {
		if p.Pod == pod && p.Ready {
			return true
		}
	}
	return false
}

// TryStatus returns a pod's /statusz.
func (c *Cluster) TryStatus(ctx context.Context, p Pod) (Status, error) {
	var s Status
	body, err := c.TryGet(ctx, "http://"+net.JoinHostPort(p.IP, HealthPort)+"/statusz")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// Channels is how many channels a Load has by default.
const Channels = 5

// Load is a plain client in one or more pods, without any code of evenkeel: grpc-go, or net/http.
type Load struct {
	// Name is the name of the pod. If there are several, a number follows it.
	Name string
	// Target is the client's target, such as dns:///hello-headless:50051, or host:port with HTTP.
	Target string
	// LB is round_robin (default) or pick_first.
	LB string
	// HTTP is the version by which it calls a gateway with JSON: 1 keeps one connection alive for
	// each channel, and 2 is without TLS. By default it calls gRPC.
	HTTP int
	// Channels is the number of channels, default [Channels]. Rate is the number of calls a second
	// over all of them, default 50. Both are for each pod.
	Channels, Rate int
	// Method is what it calls by gRPC: hi (default), watch or chat, as the client's flag.
	Method string
	// Pods is the number of pods, default 1.
	Pods int
}

// flags returns those flags of the client that its pods need not have.
func (l *Load) flags() string {
	switch l.HTTP {
	case 1:
		return ", -over-http"
	case 2:
		return ", -over-http, -h2c"
	}
	return ", -lb, " + l.LB + ", -method, " + cmp.Or(l.Method, "hi")
}

// names returns those of the pods.
func (l *Load) names() (names []string) {
	if l.Pods < 2 {
		return []string{l.Name}
	}
	for i := range l.Pods {
		names = append(names, fmt.Sprintf("%s%d", l.Name, i))
	}
	return names
}

// Loader is a running Load.
type Loader struct {
	c    *Cluster
	ns   string
	pods []string
}

// Report is a client's report of one second.
type Report struct {
	T        int64          `json:"t"`
	Calls    map[string]int `json:"calls"`
	Failures int            `json:"failures"`
	Errors   map[string]int `json:"errors"`
	Opened   int            `json:"opened"`
	Total    bool           `json:"total"`
}

// Load starts a client and waits until its calls succeed.
func (c *Cluster) Load(t testing.TB, namespace string, l Load) *Loader {
	t.Helper()
	if l.LB == "" {
		l.LB = "round_robin"
	}
	if l.Channels == 0 {
		l.Channels = Channels
	}
	if l.Rate == 0 {
		l.Rate = 50
	}
	loader := &Loader{c: c, ns: namespace, pods: l.names()}
	var manifest strings.Builder
	for _, pod := range loader.pods {
		fmt.Fprintf(&manifest, loadPod, pod, ClientTag, l.Target, l.flags(), l.Channels, l.Rate)
	}
	c.Apply(t, namespace, manifest.String())
	c.Eventually(t, l.Name+" calls", time.Minute, func(ctx context.Context) (bool, error) {
		for _, pod := range loader.pods {
			reports, err := loader.reports(ctx, pod)
			if err != nil || len(reports) == 0 || len(reports[len(reports)-1].Calls) == 0 {
				return false, cmp.Or(err, fmt.Errorf("%s makes no calls", pod))
			}
		}
		return true, nil
	})
	return loader
}

const loadPod = `
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {load: %[1]s}}
spec:
  terminationGracePeriodSeconds: 5
  automountServiceAccountToken: false
  containers:
    - name: client
      image: %[2]s
      imagePullPolicy: Never
      args: [-target, %[3]q, -channels, "%[5]d", -rate, "%[6]d", -duration, "0", -json%[4]s]
`

// Reports returns the reports of all seconds so far, in the order of time.
func (l *Loader) Reports(t testing.TB) []Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var all []Report
	for _, pod := range l.pods {
		reports, err := l.reports(ctx, pod)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, reports...)
	}
	slices.SortStableFunc(all, func(a, b Report) int { return cmp.Compare(a.T, b.T) })
	return all
}

func (l *Loader) reports(ctx context.Context, pod string) ([]Report, error) {
	out, err := l.c.TryKubectl(ctx, "-n", l.ns, "logs", pod)
	if err != nil {
		return nil, err
	}
	var all []Report
	for line := range strings.Lines(out) {
		var r Report
		if json.Unmarshal([]byte(line), &r) == nil && !r.Total {
			all = append(all, r)
		}
	}
	return all, nil
}

// Failures returns the number of failed calls in all reports, and their texts.
func Failures(reports []Report) (n int, texts map[string]int) {
	texts = map[string]int{}
	for i := range reports {
		n += reports[i].Failures
		for text, count := range reports[i].Errors {
			texts[text] += count
		}
	}
	return n, texts
}

// Uneven returns the calls of the busiest pod divided by the mean over all pods, in the last
// reports. 1 is even. A pod without calls counts for the mean.
func Uneven(reports []Report, last, pods int) float64 {
	calls, sum, most := map[string]int{}, 0, 0
	for _, r := range reports[max(0, len(reports)-last):] {
		for pod, n := range r.Calls {
			calls[pod] += n
			sum += n
		}
	}
	for _, n := range calls {
		most = max(most, n)
	}
	return float64(most) * float64(pods) / float64(max(sum, 1))
}
