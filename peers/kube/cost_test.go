package kube

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	discovery "k8s.io/api/discovery/v1"
)

var (
	costServer = flag.String("cost.server", "", "binary of the example server, for TestCostAtRest")
	costWarm   = flag.Duration("cost.warm", 150*time.Second, "time before the measurement; longer than the 2 min between two GCs of the runtime")
	costRest   = flag.Duration("cost.rest", time.Minute, "time over which CPU is measured")
)

// TestCostAtRest measures the cost of a server without clients, by its source of peers. The
// 200 peers refuse connections, whatever the source.
//
//	(cd example && go build -trimpath -ldflags '-s -w' -o /tmp/server ./server)
//	go test ./peers/kube -run AtRest -v -cost.server /tmp/server
func TestCostAtRest(t *testing.T) {
	if *costServer == "" {
		t.Skip("the measurement needs -cost.server")
	}
	const runs, peers = 5, 200
	a := newAPIServer(t)
	var names []string
	var eps []discovery.Endpoint
	for i := range peers {
		addr := fmt.Sprintf("127.1.0.%d", i+1)
		names, eps = append(names, addr), append(eps, pod(fmt.Sprintf("hello-%d", i), addr))
	}
	a.put(sliceOf("hello-1", "IPv4", eps[:peers/2]...))
	a.put(sliceOf("hello-2", "IPv4", eps[peers/2:]...))
	flags := map[string][]string{
		"none":       {"-set", "peers.source=none"},
		"static":     {"-set", "peers.source=static", "-set", "peers.static=" + strings.Join(names, ",")},
		"kubernetes": {"-set", "peers.source=kubernetes", "-set", "peers.kubernetes.service=hello", "-set", "peers.kubernetes.kubeconfig=" + kubeconfig(t, a.URL)},
	}
	var mu sync.Mutex
	costs := map[string][]cost{}
	var wg sync.WaitGroup
	for source, set := range flags {
		for range runs {
			p := startServer(t, set...)
			wg.Go(func() {
				c := p.cost()
				mu.Lock()
				defer mu.Unlock()
				costs[source] = append(costs[source], c)
			})
		}
	}
	wg.Wait()
	for source, all := range costs {
		t.Logf("%-10s medians of %d: %v", source, runs, medians(all))
	}
	if a.mu.Lock(); a.watches < runs {
		t.Errorf("%d watches for %d servers: not every server watched", a.watches, runs)
	}
	a.mu.Unlock()
}

// cost is the cost of one process: resident memory, heap in use, processor time during the
// measurement, and goroutines.
type cost [4]float64

func medians(all []cost) string {
	var m cost
	for i := range m {
		var v []float64
		for _, c := range all {
			v = append(v, c[i])
		}
		slices.Sort(v)
		m[i] = v[len(v)/2]
	}
	return fmt.Sprintf("RSS %.1f MB, heap in use %.2f MB, CPU %.1f ms, goroutines %.0f", m[0]/1e6, m[1]/1e6, m[2]*1e3, m[3])
}

type process struct {
	t    *testing.T
	pid  int
	http string
}

func startServer(t *testing.T, set ...string) *process {
	http := freeAddr(t)
	args := append([]string{"-grpc", freeAddr(t), "-http", http, "-log-level", "error", "-set", "peers.port=1"}, set...)
	cmd := exec.CommandContext(context.Background(), *costServer, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &process{t: t, pid: cmd.Process.Pid, http: http}
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (p *process) cost() cost {
	time.Sleep(*costWarm) // the start does not count
	before := p.cpu()
	time.Sleep(*costRest)
	used := p.cpu() - before
	return cost{p.rss(), p.metric("go_memstats_heap_inuse_bytes"), used, p.metric("go_goroutines")}
}

// cpu returns the seconds for which all threads have run. /proc/PID/stat would count in
// ticks of 10 ms.
func (p *process) cpu() float64 {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	sum := 0.0
	for _, f := range files {
		data, _ := os.ReadFile(f)
		sum += number(strings.Fields(string(data)), 0)
	}
	return sum / 1e9
}

func (p *process) rss() float64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	return number(strings.Fields(string(data)), 1) * float64(os.Getpagesize())
}

func (p *process) metric(name string) float64 {
	resp, err := http.Get("http://" + p.http + "/metrics")
	if err != nil {
		p.t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 2 && f[0] == name {
			return number(f, 1)
		}
	}
	p.t.Errorf("no metric %s", name)
	return 0
}

func number(fields []string, i int) float64 {
	if i >= len(fields) {
		return 0
	}
	v, _ := strconv.ParseFloat(fields[i], 64)
	return v
}
