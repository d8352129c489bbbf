//go:build e2e

package experiment

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/test/k8s/cluster"
)

var keep = flag.String("experiment.keep", "", "write the records, the servers' logs and their last status into this `folder`")

// write selects whether the tables are written into the page. It is a variable and not a flag,
// so that `make e2e` passes it on.
var write = os.Getenv("EXPERIMENT_WRITE") == "true"

// long adds what takes five minutes more, which make nightly does. The page needs it.
var long = write || os.Getenv("EXPERIMENT_LONG") == "true"

// docs is the path of the page from this folder.
const docs = "../../../docs/kubernetes-experiment.md"

// The durations of the phases are the shortest that show every effect. A MaxConnectionAge of
// 30 s takes effect within 33 s, and a DNS cache holds answers for 30 s. grpc-go's resolvers
// rest for 30 s after a lookup. After pods have gone they may rest three times, because
// GOAWAYs are spread and a query may wait for the end of a rest.
const (
	warmUp    = 5 * time.Second
	restFor   = 36 * time.Second
	growFor   = 48 * time.Second
	shrinkFor = 98 * time.Second
	regrowFor = 46 * time.Second
)

// Each fleet has 3 client pods of 10 channels, with 10 calls a second on each channel. So the
// calls of one second divide evenly by 5 pods.
const (
	clientPods   = 3
	channelsEach = 10
	channelRate  = 10
)

// TestArticle is the article's experiment: from 2 to 5 pods, to 1, to 4. The two fleets whose
// times are compared run without others: with all six, the calls alone take both cores, and what
// is measured is the machine. The long form also has what people do without evenkeel, and
// evenkeel with other configurations of DNS.
func TestArticle(t *testing.T) {
	c := cluster.Shared(t, cluster.Options{})
	groups := [][]service{
		{
			{name: "evenkeel", title: "evenkeel"},
			{name: "kuberesolver", title: "kuberesolver's client", image: kuberesolverTag, set: bare("-bare")},
		},
		{
			{name: "age", title: "MaxConnectionAge=30s", set: bare("-bare,-bare-max-connection-age=30s")},
			{name: "nothing", title: "nothing", set: bare("-bare")},
			{name: "cached", title: "evenkeel, cache 30", corefile: cluster.CorefileCached},
			{name: "short", title: "evenkeel, ttl 5", corefile: cluster.CorefileShort},
		},
	}
	if !long {
		groups = groups[:1]
	}
	var results []Result
	want := 0
	for _, group := range groups {
		want += len(group)
		t.Run(group[0].name+" and "+group[1].name, func(t *testing.T) {
			results = append(results, play(t, c, group)...)
		})
	}
	if len(results) < want {
		t.Fatalf("got the results of %d fleets, want %d", len(results), want)
	}
	checkBehind(t, &results[0], &results[1])
	t.Logf("side by side:\n%s", Table(results[:min(4, want)]))
	if !long {
		return
	}
	byDNS := Table([]Result{results[0], results[4], results[5]})
	t.Logf("evenkeel and DNS:\n%s", byDNS)
	if write {
		noError(t, WriteBetween(docs, "article", Table(results[:4])))
		noError(t, WriteBetween(docs, "dns", byDNS))
	}
}

// bare are the settings of a release whose servers run without evenkeel.
func bare(flags string) []string {
	return []string{"evenkeel.peers.source=none", "extraArgs={" + flags + "}"}
}

// play plays the experiment for some fleets, and checks the promises of those that evenkeel
// balances.
func play(t *testing.T, c *cluster.Cluster, group []service) []Result {
	t.Helper()
	fleets := headlessFleets(t, c, group)
	log := &Log{}
	stage(t, fleets, log, func() {
		enter(t, fleets, log, PhaseRest, 2, restFor)
		enter(t, fleets, log, PhaseGrow, 5, growFor)
		enter(t, fleets, log, PhaseShrink, 1, shrinkFor)
		enter(t, fleets, log, PhaseRegrow, 4, regrowFor)
	})
	results := measure(t, fleets, collect(t, fleets, log))
	for i, f := range fleets {
		if f.byDNS {
			checkPromises(t, f, &results[i])
		}
	}
	return results
}

func headlessFleets(t *testing.T, c *cluster.Cluster, group []service) []*service {
	t.Helper()
	var fleets []*service
	for i := range group {
		s := &group[i]
		if s.corefile != "" {
			s.dns = secondDNS(t, c, "dns-"+s.name, s.corefile)
		}
		s.c, s.ns = c, c.Namespace(t)
		s.lb, s.pods, s.channels, s.rate = "round_robin", clientPods, channelsEach, channelRate
		s.byDNS = s.name == "evenkeel" || s.dns != ""
		s.target = headless(s.ns)
		switch s.image {
		case "":
			s.image = loadTag
		case kuberesolverTag:
			s.target = watched(s.ns)
		}
		fleets = append(fleets, s)
	}
	return fleets
}

// stage installs the fleets with 2 pods each, starts their clients, calls play, and ends the
// last phase.
func stage(t *testing.T, fleets []*service, log *Log, play func()) {
	t.Helper()
	for _, s := range fleets {
		s.install(t, 2)
	}
	openAll(t, fleets, 2, false)
	for _, s := range fleets {
		s.c.WaitRollout(t, s.ns, release)
	}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	for _, s := range fleets {
		watching.Go(func() { s.watch(ctx, log) })
	}
	for _, s := range fleets {
		s.awaitDNS(t, 2)
	}
	for _, s := range fleets {
		s.startClients(t)
	}
	for _, s := range fleets {
		s.c.WaitRollout(t, s.ns, "client")
	}
	pause(t, warmUp)
	play()
	enter(t, fleets, log, PhaseEnd, 0, time.Second)
}

// collect adds the clients' output to the records. It writes all records to a folder if
// -experiment.keep names one.
func collect(t *testing.T, fleets []*service, log *Log) []Record {
	t.Helper()
	for _, s := range fleets {
		s.readLogs(t, log)
	}
	records := log.Records()
	if *keep != "" {
		keepAll(t, fleets, records)
	}
	return records
}

// enter starts a phase in all fleets and waits until it is over.
func enter(t *testing.T, fleets []*service, log *Log, phase string, replicas int, d time.Duration) {
	t.Helper()
	begun := time.Now()
	for _, s := range fleets {
		log.Add(Record{At: time.Now(), Fleet: s.name, Kind: Mark, Phase: phase, Replicas: replicas})
		if phase != PhaseRest && phase != PhaseEnd {
			s.c.Kubectl(t, "-n", s.ns, "scale", "deploy/"+release, fmt.Sprintf("--replicas=%d", replicas))
		}
	}
	if phase == PhaseGrow || phase == PhaseRegrow {
		openAll(t, fleets, replicas, true)
		for _, s := range fleets {
			s.c.WaitEndpoints(t, s.ns, release+"-headless", replicas)
		}
	}
	t.Logf("phase %s: %d pods in each of %d fleets after %.1f s", phase, replicas, len(fleets), time.Since(begun).Seconds())
	pause(t, d)
}

// pause waits while the fleets are measured.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal("the test was canceled")
	case <-time.After(d):
	}
}

func measure(t *testing.T, fleets []*service, records []Record) []Result {
	t.Helper()
	var out []Result
	for _, s := range fleets {
		f, err := Measure(records, s.name)
		noError(t, err)
		out = append(out, Result{Title: s.title, Channels: s.pods * s.channels, ByDNS: s.byDNS, Figures: f})
		for _, phase := range []string{PhaseRest, PhaseGrow, PhaseShrink, PhaseRegrow} {
			one, ok := f[phase]
			if !ok {
				continue
			}
			t.Logf("%-12s %-6s %d calls, %d failed %s, %d GOAWAYs, %d opened%s", s.name, phase, one.Calls, one.Failed, one.Texts(),
				one.GoAways, one.Opened, growthText(one.Growth))
		}
	}
	return out
}

func growthText(g *Growth) string {
	if g == nil {
		return ""
	}
	since := func(at time.Time) string {
		if at.IsZero() { // no resolver waits where the clients watch the API server
			return "-"
		}
		return fmt.Sprintf("%+.1f s", at.Sub(g.ReadyAt).Seconds())
	}
	return fmt.Sprintf(", ready %s, DNS in full %s, resolvers may ask %s, even %.1f s, after DNS %.1f s, early %d, late %d",
		g.ReadyAt.Format("15:04:05.0"), since(g.DNSFullAt), since(g.MayAskAt), g.Even.Seconds(), g.AfterDNS.Seconds(), g.Early, g.Late)
}

// evenWithin is the promised time until the load is even, counted from when DNS answers in full
// and the resolvers may ask.
const evenWithin = 5 * time.Second

// checkPromises checks what evenkeel promises for multi-homed clients.
func checkPromises(t *testing.T, s *service, r *Result) {
	t.Helper()
	fail := func(bad bool, format string, args ...any) {
		t.Helper()
		if bad {
			t.Errorf(s.name+": "+format, args...)
		}
	}
	for _, phase := range []string{PhaseRest, PhaseGrow, PhaseShrink, PhaseRegrow} {
		f := r.Figures[phase]
		fail(f.Failed > 0, "%s: %d RPCs failed: %s", phase, f.Failed, f.Texts())
		if f.Growth == nil {
			continue
		}
		g := f.Growth
		fail(g.AfterDNS < 0 || g.AfterDNS > evenWithin, "%s: the load was even %v after DNS answered in full, want at most %v", phase, g.AfterDNS, evenWithin)
		fail(f.GoAways != r.Channels, "%s: got %d GOAWAYs, want one for each of %d channels", phase, f.GoAways, r.Channels)
		fail(g.Early > 0, "%s: got %d GOAWAYs before DNS answered in full, want none", phase, g.Early)
		fail(g.Late > 0, "%s: got %d GOAWAYs after the load was even, want none", phase, g.Late)
	}
	rest := r.Figures[PhaseRest]
	fail(rest.Opened > 0 || rest.GoAways > 0, "at rest: got %d new connections and %d GOAWAYs, want none", rest.Opened, rest.GoAways)
}

// keepAll writes everything that is needed to evaluate a run into the folder.
func keepAll(t *testing.T, all []*service, records []Record) {
	t.Helper()
	noError(t, os.MkdirAll(*keep, 0o755))
	var b bytes.Buffer
	noError(t, Write(&b, records))
	noError(t, os.WriteFile(filepath.Join(*keep, strings.ReplaceAll(t.Name(), "/", "-")+".jsonl"), b.Bytes(), 0o600))
	for _, s := range all {
		for _, pod := range s.c.Pods(t, s.ns, "app.kubernetes.io/instance="+release) {
			base := filepath.Join(*keep, s.name+"-"+pod.Name)
			noError(t, os.WriteFile(base+".log", []byte(s.c.Logs(t, s.ns, pod.Name, "")), 0o600))
			status := s.c.Get(t, "http://"+net.JoinHostPort(pod.IP, strconv.Itoa(healthPort))+"/statusz")
			noError(t, os.WriteFile(base+".json", status, 0o600))
		}
	}
}
