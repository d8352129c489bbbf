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
	// Of each kind, half are in Go, a quarter each in Node and Python. There are more
	// single-homed clients, since multi-homed ones are even by themselves.
	mixedSingle = 48
	mixedMulti  = 16
	// mixedLimit is the limit on the fullest pod's connections over the mean.
	mixedLimit = 1.15
	// mixedCost is the limit on GOAWAYs per single-homed connection.
	mixedCost = 1.3
)

// other is a process with clients that are not written in Go.
type other struct {
	*fleet.Proc

	lines chan string
}

// startOther starts a program with a channel to each target. ../interop/run.sh must have built
// its dependencies.
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
		"GRPC_NODE_USE_ALTERNATIVE_RESOLVER=true", // without it grpc-js uses only the system's DNS
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

// check stops the process and fails the test if an RPC failed.
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
			t.Fatalf("%s printed %q, want JSON: %v", what, line, err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s did not exit within a minute", what)
	}
	if r.Failed > 0 || r.Calls == 0 {
		t.Errorf("%s: %d of %d RPCs failed: %v", what, r.Failed, r.Calls, r.Errors)
	}
	t.Logf("%s: %d RPCs, %d failed", what, r.Calls, r.Failed)
}

// counts returns each pod's connections, without draining ones.
func counts(all []rebalance.Status) map[string]int {
	n := map[string]int{}
	for i := range all {
		n[all[i].Pod] = all[i].Connections - all[i].Draining
	}
	return n
}

// Single-homed and multi-homed clients of three implementations use the same service. Each kind
// is moved by its own rule, and neither is moved because of the other.
func TestMixed(t *testing.T) {
	t.Parallel()
	const netNumber = 9
	s := newService(t, loopback(netNumber))
	b := listenBalancer(t, s, netNumber, mixedSingle)
	s.vip = b
	s.grow(t, 3)
	check := startMixed(t, s, b)
	s.settle(t, evenWithin, counts)
	t.Logf("3 pods: %s, %d GOAWAYs since the clients connected", show(counts(s.statuses(t))), rebalanced(s.statuses(t)))

	before, start := s.statuses(t), time.Now()
	s.grow(t, 3)
	even := s.settle(t, evenWithin, counts)
	now := s.statuses(t)
	reach, level := goAways(now, "reach")-goAways(before, "reach"), goAways(now, "even")-goAways(before, "even")
	most := fleet.MaxOverMean(counts(now), s.names())
	t.Logf("3 to 6: even after %v: %s, max/mean %.2f; %d GOAWAYs of reason reach for %d multi-homed channels, %d of reason even, %.2f per single-homed connection",
		even.Sub(start).Round(100*time.Millisecond), show(counts(now)), most, reach, mixedMulti, level, float64(level)/mixedSingle)
	if most > mixedLimit {
		t.Errorf("the fullest pod has %.2f times the mean, want at most %v", most, mixedLimit)
	}
	if reach != mixedMulti {
		t.Errorf("got %d GOAWAYs of reason reach, want one for each of %d multi-homed channels", reach, mixedMulti)
	}
	if level == 0 || float64(level) > mixedCost*mixedSingle {
		t.Errorf("got %d GOAWAYs of reason even for %d single-homed connections, want at least 1 in all and at most %v per connection", level, mixedSingle, mixedCost)
	}
	s.expectQuiet(t, 20*time.Second)
	check()
}

// startMixed starts all clients and returns a function that checks them.
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
	var multi []string
	for range mixedMulti / 4 {
		multi = append(multi, fmt.Sprintf("dns://%s/%s:%d", s.dns.Addrs()[0], name, s.ports.grpc))
	}
	others := map[string]*other{
		"Node pick_first":    startOther(t, node, "pick_first", fronts(mixedSingle/2, mixedSingle/4)),
		"Python pick_first":  startOther(t, python, "pick_first", fronts(mixedSingle*3/4, mixedSingle/4)),
		"Node round_robin":   startOther(t, node, "round_robin", multi),
		"Python round_robin": startOther(t, python, "round_robin", multi),
	}
	callers := startCallers(t, b, 0, mixedSingle/2)
	callers = callers.join(startMultiHomed(t, s, mixedMulti/2, func(i int) string { return fmt.Sprintf("127.22.%d.%d", b.net, 200+i) }))
	callers.awaitAnswers(t)
	all := mixedSingle + len(s.pods)*mixedMulti
	perPod := ""
	defer func() {
		if t.Failed() {
			t.Logf("got %s, want %d connections in all", perPod, all)
		}
	}()
	eventually(t, time.Minute, "not all clients have connected", func() bool {
		sum, now := 0, counts(s.statuses(t))
		for _, n := range now {
			sum += n
		}
		perPod = show(now)
		return sum == all
	})
	return func() {
		callers.check(t)
		for what, o := range others {
			o.check(t, what)
		}
	}
}

// startMultiHomed starts n clients with round_robin, each with its own source address.
func startMultiHomed(t *testing.T, s *service, n int, source func(i int) string) *callers {
	t.Helper()
	return start(t, n, "round_robin", func(i int) (string, string) {
		return fmt.Sprintf("dns://%s/%s:%d", s.dns.Addrs()[0], name, s.ports.grpc), source(i)
	})
}
