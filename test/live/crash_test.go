package live

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	crashEvery = 40 * time.Second
	// restarts is how long a crashed pod takes to serve again.
	restarts = 5 * time.Second
	// mostPerChannel is how many GOAWAYs a channel may get in all.
	mostPerChannel = 2.0
	// spread and single are the numbers of round_robin and pick_first clients. So many of them
	// have one connection only that the pod which crashed is below the band without them.
	spread, single = 10, 40
)

// crasher kills one pod again and again.
type crasher struct {
	s       *service
	cs      *clients
	begun   time.Time
	goAways int // of processes that are gone
}

// crash kills the pod, which soon serves again at the same address. DNS lists it while it is
// ready.
func (x *crasher) crash(t *testing.T, n int) {
	t.Helper()
	p := x.s.pod(podName(n))
	for _, count := range status(t, p).GoAways {
		x.goAways += int(count)
	}
	p.Kill()
	<-p.Done()
	x.s.remove(p)
	during(restarts, func() {})
	again, err := x.s.start(t, n)
	if err != nil {
		t.Fatal(err)
	}
	x.s.pods = append(x.s.pods, again)
	x.s.publish()
}

// crashes lets the pod crash several times.
func (x *crasher) crashes(t *testing.T, n, times int) {
	t.Helper()
	for i := range times {
		begun := time.Now()
		x.crash(t, n)
		during(crashEvery-time.Since(begun), func() {})
		t.Logf("after %d crashes: %d GOAWAYs, calls of the last 10 s %v", i+1, x.goAways+x.s.goAways(t), x.cs.calls(time.Now().Add(-10*time.Second)))
		x.pinned(t)
	}
}

// pinned fails the test if a pod has taken clients for pinned since the crashes began. Before
// that, young clients may come back: their resolvers rest.
func (x *crasher) pinned(t *testing.T) {
	t.Helper()
	for _, st := range x.s.statuses(t) {
		if strings.Contains(st.Why, "whenever they are drained") {
			t.Errorf("%s takes clients for pinned: %s", st.Pod, st.Why)
		}
		for _, d := range st.Decisions {
			if d.At.After(x.begun) && strings.Contains(d.Why, "sessionAffinity") {
				t.Errorf("%s takes clients for pinned: at %v, %s: %s", st.Pod, d.At.Format("15:04:05.000"), d.Action, d.Why)
			}
		}
	}
}

func newCrasher(t *testing.T, network int) *crasher {
	t.Helper()
	s := newService(t, network, exampleServer)
	s.grow(t, 4)
	cs := start(t, spread, "round_robin", s.target(), false, from(network, 1)).and(start(t, single, "pick_first", s.target(), false, from(network, 101)))
	cs.awaitAnswers(t)
	t.Logf("%d GOAWAYs before", s.settle(t))
	return &crasher{s: s, cs: cs, begun: time.Now(), goAways: -s.goAways(t)}
}

// cost is the number of GOAWAYs for each channel since the beginning.
func (x *crasher) cost(t *testing.T, limit float64) {
	t.Helper()
	n := x.goAways + x.s.goAways(t)
	got := float64(n) / float64(len(x.cs.all))
	t.Logf("%d GOAWAYs, %.2f per channel", n, got)
	if got > limit {
		t.Errorf("%.2f GOAWAYs per channel, want at most %v", got, limit)
	}
}

// onLate counts the round_robin clients that use both late pods.
func (x *crasher) onLate() int {
	return (&clients{all: x.cs.all[:spread]}).onAll(time.Now().Add(-5*time.Second), "pod-4", "pod-5")
}

// load returns the connections of a pod over the mean.
func (x *crasher) load(t *testing.T, pod string) float64 {
	t.Helper()
	sum, own := 0, 0
	for _, st := range x.s.statuses(t) {
		n := st.Connections - st.Draining
		if sum += n; st.Pod == pod {
			own = n
		}
	}
	return float64(own*len(x.s.pods)) / float64(max(sum, 1))
}

// check fails the test if an RPC failed, except on the pod that was killed.
func (x *crasher) check(t *testing.T, n int) {
	t.Helper()
	x.cs.check(t, fmt.Sprintf("%s:%d", x.s.host(n), x.s.grpc))
}

// A pod crashes each 40 s. Its clients are not sent after it again and again.
func TestCrashingPod(t *testing.T) {
	t.Parallel()
	x := newCrasher(t, 6)
	x.crashes(t, 4, 2)
	x.cost(t, mostPerChannel)
	x.check(t, 4)
}

// The same for five minutes. Then it stays up, and another pod comes, which gets its clients. The
// pod that crashed is found by the clients that resolve, and gets others once it has been up for
// long: the planner sees to that in virtual time.
func TestCrashingPodForLong(t *testing.T) {
	if !*long {
		t.Skip("takes 6 to 14 minutes: use -long")
	}
	t.Parallel()
	x := newCrasher(t, 7)
	x.crashes(t, 4, 8)
	x.cost(t, mostPerChannel)
	begun := time.Now()
	x.s.grow(t, 1)
	reached := within(4*time.Minute, func() bool { return x.onLate() == spread })
	t.Logf("%d of %d round_robin channels are on both late pods after %.1f s", x.onLate(), spread, time.Since(begun).Seconds())
	if !reached {
		t.Error("some channels have not reached the late pods")
	}
	even := within(4*time.Minute, func() bool { return x.load(t, "pod-5") >= 0.7 })
	t.Logf("pod-5 has %.2f times the mean after %.1f s, and the pod that crashed %.2f", x.load(t, "pod-5"), time.Since(begun).Seconds(), x.load(t, "pod-4"))
	if !even {
		t.Error("the new pod has not got its part")
	}
	x.cost(t, mostPerChannel+1)
	x.pinned(t)
	x.check(t, 4)
}
