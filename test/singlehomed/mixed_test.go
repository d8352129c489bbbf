//go:build interop

package singlehomed

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

const (
	// Of each kind, half in Go, a quarter each in Node and Python. The sticky ones are
	// more, since those that are spread are even by themselves.
	mixedSticky = 48
	mixedSpread = 16
	// mixedLimit for the fullest pod's connections over the mean of all.
	mixedLimit = 1.15
	// mixedCost for the sticky ones' GOAWAYs for each of their connections.
	mixedCost = 1.3
)

// other is a client process of another make.
type other struct {
	*fleet.Proc

	lines chan string
}

// startOther starts one with a channel to each target. ../interop/run.sh has built what
// it needs.
func startOther(t *testing.T, program []string, policy string, targets []string) *other {
	t.Helper()
	built, err := filepath.Abs("../interop/.tmp")
	if err != nil {
		t.Fatal(err)
	}
	proto, err := filepath.Abs("../../example/proto/hello/v1/hello.proto")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"HELLO_PROTO=" + proto, "NODE_PATH=" + filepath.Join(built, "node", "node_modules"),
		"PYTHONPATH=" + filepath.Join(built, "python"),
		"GRPC_NODE_USE_ALTERNATIVE_RESOLVER=true", // else grpc-js asks the system's DNS only
	}
	o := &other{lines: make(chan string, 16)}
	argv := append(append([]string{}, program...), policy)
	o.Proc, err = fleet.Start(append(argv, targets...), env, func(line string) { o.lines <- line }, func(line string) { t.Log(program, line) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Kill(); <-o.Done() })
	return o
}

// check ends it; no RPC may have failed.
func (o *other) check(t *testing.T, what string) {
	t.Helper()
	o.Terminate()
	var r struct {
		Calls, Failed int
		Errors        map[string]int
	}
	select {
	case line := <-o.lines:
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s said %q: %v", what, line, err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s does not end", what)
	}
	if r.Failed > 0 || r.Calls == 0 {
		t.Errorf("%s: %d of %d RPCs failed: %v", what, r.Failed, r.Calls, r.Errors)
	}
	t.Logf("%s: %d RPCs, %d failed", what, r.Calls, r.Failed)
}

// counts is what the pods have, without those on their way out.
func counts(all []rebalance.Status) map[string]int {
	n := map[string]int{}
	for i := range all {
		n[all[i].Pod] = all[i].Connections - all[i].Draining
	}
	return n
}

// Sticky and spread clients of three makes at the same service: each kind is moved by
// its own rule, and neither is moved for the other.
func TestMixed(t *testing.T) {
	t.Parallel()
	const netNumber = 9
	s := newService(t, loopback(netNumber))
	b := listenBalancer(t, s, netNumber, mixedSticky)
	s.vip = b
	s.grow(t, 3)
	check := startMixed(t, s, b)
	s.settle(t, evenWithin, counts)
	t.Logf("3 pods: %s, %d GOAWAYs since the clients came", show(counts(s.look(t))), moved(s.look(t)))

	before, start := s.look(t), time.Now()
	s.grow(t, 3)
	even := s.settle(t, evenWithin, counts)
	now := s.look(t)
	reach, level := goAways(now, "reach")-goAways(before, "reach"), goAways(now, "even")-goAways(before, "even")
	most := fleet.MaxOverMean(counts(now), s.names())
	t.Logf("3 to 6: even after %v: %s, max/mean %.2f; %d GOAWAYs of reason reach for %d spread channels, %d of reason even, %.2f for each sticky connection",
		even.Sub(start).Round(100*time.Millisecond), show(counts(now)), most, reach, mixedSpread, level, float64(level)/mixedSticky)
	if most > mixedLimit {
		t.Errorf("the fullest pod has %.2f times the mean, at most %v may be", most, mixedLimit)
	}
	if reach != mixedSpread {
		t.Errorf("%d GOAWAYs of reason reach, want one for each of %d spread channels", reach, mixedSpread)
	}
	if level == 0 || float64(level) > mixedCost*mixedSticky {
		t.Errorf("%d GOAWAYs of reason even for %d sticky connections, at most %v for each may be", level, mixedSticky, mixedCost)
	}
	s.alone(t, 20*time.Second)
	check()
}

// startMixed starts all clients and returns how to check them.
func startMixed(t *testing.T, s *service, b *tcpBalancer) (check func()) {
	t.Helper()
	node, python := []string{"node", "clients/steady.js"}, []string{"/usr/bin/python3", "clients/steady.py"}
	fronts := func(first, n int) (out []string) {
		for i := first; i < first+n; i++ {
			addr, _ := b.front(i)
			out = append(out, "ipv4:"+addr)
		}
		return out
	}
	var spread []string
	for range mixedSpread / 4 {
		spread = append(spread, fmt.Sprintf("dns://%s/%s:%d", s.dns.Addrs()[0], name, s.ports.grpc))
	}
	others := map[string]*other{
		"Node pick_first":    startOther(t, node, "pick_first", fronts(mixedSticky/2, mixedSticky/4)),
		"Python pick_first":  startOther(t, python, "pick_first", fronts(mixedSticky*3/4, mixedSticky/4)),
		"Node round_robin":   startOther(t, node, "round_robin", spread),
		"Python round_robin": startOther(t, python, "round_robin", spread),
	}
	callers := startCallers(t, b, 0, mixedSticky/2)
	callers = callers.join(startSpread(t, s, mixedSpread/2, func(i int) string { return fmt.Sprintf("127.22.%d.%d", b.net, 200+i) }))
	callers.come(t)
	all := mixedSticky + len(s.pods)*mixedSpread
	came := ""
	defer func() {
		if t.Failed() {
			t.Logf("%s, want %d in all", came, all)
		}
	}()
	eventually(t, time.Minute, "the clients do not come", func() bool {
		sum, now := 0, counts(s.look(t))
		for _, n := range now {
			sum += n
		}
		came = show(now)
		return sum == all
	})
	return func() {
		callers.check(t)
		for what, o := range others {
			o.check(t, what)
		}
	}
}

// startSpread starts n with round_robin, each from an address of its own.
func startSpread(t *testing.T, s *service, n int, source func(i int) string) *callers {
	t.Helper()
	return start(t, n, "round_robin", func(i int) (string, string) {
		return fmt.Sprintf("dns://%s/%s:%d", s.dns.Addrs()[0], name, s.ports.grpc), source(i)
	})
}
