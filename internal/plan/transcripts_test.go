package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each rule has a short transcript: what the pods of a small fleet decide, and why. They are
// stored under testdata, to be read; -update writes them again.
func TestTranscripts(t *testing.T) {
	for name, tc := range map[string]struct {
		title string
		play  func() *scene
	}{
		"multi-homed":      {"2 pods become 4; 20 clients with round_robin. DNS lists the new pods 3 s later.", sceneMultiHomed},
		"subsets":          {"6 pods become 8; 40 channels that use 3 pods each. Pods 1 and 2 are shown.", sceneSubsets},
		"single-homed":     {"2 pods become 4; 60 clients with a single connection each. A small round looks first.", sceneSingleHomed},
		"rolling-update":   {"3 pods are replaced, one each 20 s; 60 clients with a single connection each. Nothing moves before the end.", sceneRolling},
		"flapping-pod":     {"The readiness of pod 4 flips each 20 s; 60 clients with a single connection each. Pods 1 and 4 are shown.", sceneFlapping},
		"crash-loop":       {"Pod 4 crashes each minute; 20 clients with round_robin. Pods 1 and 4 are shown.", sceneCrashLoop},
		"stale-view":       {"2 pods become 4; 60 clients with round_robin. The view is lost for a minute in the middle of the round.", sceneStale},
		"streams":          {"2 pods become 4; 40 single connections with one stream each that does not end. After 5 minutes the streams end.", sceneStreams},
		"shares":           {"Pods with shares of 1, 2 and 4; 70 single connections that arrived evenly.", sceneShares},
		"warm-up":          {"2 pods become 3, which warms up over 60 s; 40 clients with round_robin.", sceneWarm},
		"overload":         {"4 pods with 50 single connections each; pod 1 is overloaded for 3 minutes.", sceneOverload},
		"out":              {"The Service no longer lists pod 3 of 3, which lives; 60 single connections.", sceneOut},
		"panic-threshold":  {"The Service no longer lists 3 of 5 pods, which live; 50 single connections.", scenePanic},
		"zone":             {"Zone a has 1 pod, zone b has 3; 20 clients in each, with a single connection that stays in its zone.", sceneZone},
		"affinity":         {"2 pods become 4; 40 clients that always come back to the same pod. Pods 1 and 3 are shown.", sceneAffinity},
		"fixed-order":      {"4 pods become 5; 80 clients that always take the first address. Pods 1, 2 and 5 are shown.", sceneFixedOrder},
		"clients-that-end": {"4 pods with 25 single connections each, of which each lives for about 5 minutes; 90 minutes.", sceneChurn},
		"gate-closed":      {"2 pods become 3, but DNS never lists the third; 10 clients with round_robin.", sceneGate},
		"other-pod-silent": {"4 pods, two of which do not report; 20 more single connections arrive at pod 1.", sceneSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.play().check(t, tc.title)
		})
	}
}

func sceneOf(f *fleet, warmUp time.Duration) *scene {
	f.run(warmUp)
	return newScene(f)
}

func (s *scene) grow(n int) {
	s.say("%d pods become %d", len(s.fleet.pods), n)
	s.scale(n)
	s.resolveAll()
}

func sceneMultiHomed() *scene {
	s := sceneOf(newFleet(2, 20, 20), time.Minute)
	s.say("2 pods become 4")
	s.scale(4)
	s.play(3 * time.Second)
	s.say("DNS lists all pods")
	s.resolveAll()
	s.play(5 * time.Minute)
	s.result()
	return s
}

func sceneSingleHomed() *scene {
	f := newFleet(2, 0, 1)
	f.addSingleHomed(60)
	s := sceneOf(f, time.Minute)
	s.grow(4)
	s.play(3 * time.Minute)
	s.result()
	return s
}

func sceneRolling() *scene {
	f := newFleet(3, 0, 1)
	f.addSingleHomed(60)
	f.run(20 * time.Minute)
	s := newScene(f)
	f.revisions = 2
	for i := range 3 {
		s.say("pod %s stops, a new one takes its place", short(f.pods[0]))
		old := f.pods[0]
		f.replaceOldest(i)
		delete(s.shown, old)
		s.play(20 * time.Second)
	}
	s.result()
	s.say("all pods run the same revision")
	f.revisions = 1
	s.play(3 * time.Minute)
	s.result()
	return s
}

func sceneFlapping() *scene {
	f := newFleet(4, 0, 1)
	f.addSingleHomed(60)
	f.run(20 * time.Minute)
	s := newScene(f)
	s.only = []string{"1", "4"}
	s.say("pod 4 leaves for 20 s and returns for 20 s, ten times")
	for range 10 {
		f.unlist(f.pods[3])
		s.play(20 * time.Second)
		f.relist(f.pods[3])
		s.play(20 * time.Second)
	}
	s.result()
	s.say("pod 4 stays")
	s.play(40 * time.Minute)
	s.result()
	return s
}

func sceneCrashLoop() *scene {
	f := newFleet(4, 20, 20)
	f.run(20 * time.Minute)
	s := newScene(f)
	s.only = []string{"1", "4"}
	s.say("pod 4 crashes each minute, and is back 20 s later, six times")
	pod := f.pods[3]
	for range 6 {
		f.leave(pod)
		s.play(20 * time.Second)
		f.enter(pod)
		s.play(40 * time.Second)
	}
	s.result()
	s.say("pod 4 stays")
	s.play(45 * time.Minute)
	s.result()
	return s
}

func sceneStale() *scene {
	s := sceneOf(newFleet(2, 60, 60), time.Minute)
	s.grow(4)
	s.play(2500 * time.Millisecond)
	s.say("the view is lost")
	s.stale = true
	s.play(time.Minute)
	s.say("the view is back")
	s.stale = false
	s.play(4 * time.Minute)
	s.result()
	return s
}

func sceneStreams() *scene {
	f := newFleet(2, 0, 1)
	f.addSingleHomed(40)
	for _, c := range f.singleHomed {
		c.streams = true
	}
	s := sceneOf(f, time.Minute)
	s.grow(4)
	s.play(5 * time.Minute)
	s.result()
	s.say("the streams of the drained connections end")
	for _, pod := range f.pods {
		for _, c := range f.flight[pod] {
			f.singleHomed[c.id].streams = false
		}
	}
	f.endStreams()
	s.play(2 * time.Minute)
	s.result()
	return s
}

func sceneShares() *scene {
	f := newFleet(3, 0, 1)
	f.share = map[string]float64{f.pods[0]: 1, f.pods[1]: 2, f.pods[2]: 4}
	f.addSingleHomed(70)
	s := newScene(f)
	s.play(5 * time.Minute)
	s.result()
	return s
}

func sceneWarm() *scene {
	s := sceneOf(newFleet(2, 40, 40), time.Minute)
	s.grow(3)
	young := s.fleet.pods[2]
	from := s.now
	for s.now < from+4*time.Minute {
		warm := min(1, max(0.1, (s.now-from).Seconds()/60))
		s.share, s.warm = map[string]float64{young: warm}, map[string]float64{young: warm}
		s.play(time.Second)
	}
	s.result()
	return s
}

func sceneOverload() *scene {
	f := newFleet(4, 0, 1)
	f.addSingleHomed(200)
	f.rand = rand.New(rand.NewPCG(3, 4))
	s := sceneOf(f, time.Minute)
	s.only = []string{"1", "2"}
	s.say("pod 1 is overloaded")
	f.overloaded = map[string]bool{f.pods[0]: true}
	s.play(3 * time.Minute)
	s.result()
	s.say("pod 1 is no longer overloaded")
	f.overloaded = nil
	s.play(20 * time.Minute)
	s.result()
	return s
}

func sceneOut() *scene {
	f := newFleet(3, 0, 1)
	f.addSingleHomed(60)
	f.run(20 * time.Minute)
	s := newScene(f)
	s.say("the Service no longer lists pod 3")
	f.unlist(f.pods[2])
	s.play(5 * time.Minute)
	s.result()
	return s
}

func scenePanic() *scene {
	f := newFleet(5, 0, 1)
	f.addSingleHomed(50)
	f.run(20 * time.Minute)
	s := newScene(f)
	s.say("the Service no longer lists pods 3, 4 and 5")
	f.unlist(f.pods[2:]...)
	s.play(5 * time.Minute)
	s.result()
	return s
}

func sceneZone() *scene {
	f := newFleet(4, 0, 1)
	f.zones = map[string]string{f.pods[0]: "a", f.pods[1]: "b", f.pods[2]: "b", f.pods[3]: "b"}
	for i := range 40 {
		c := &singleClient{key: fmt.Sprint("single-", i), zone: string("ab"[i%2])}
		f.place(f.target(c), c, false)
	}
	s := newScene(f)
	s.play(5 * time.Minute)
	s.result()
	return s
}

func sceneAffinity() *scene {
	f := newFleet(2, 0, 1)
	f.addSingleHomed(40)
	for _, c := range f.singleHomed {
		c.pinned = true
	}
	s := sceneOf(f, time.Minute)
	s.only = []string{"1", "3"}
	s.grow(4)
	s.play(time.Hour)
	s.result()
	return s
}

func sceneFixedOrder() *scene {
	f := newFleet(4, 0, 1)
	f.addSingleHomed(80)
	for _, c := range f.singleHomed {
		c.first = true
	}
	s := sceneOf(f, time.Minute)
	s.only = []string{"1", "2", "5"}
	s.grow(5)
	s.play(30 * time.Minute)
	s.result()
	return s
}

// sceneChurn has clients that come and go, so that the pods are never even for long.
func sceneChurn() *scene {
	f := newFleet(4, 0, 1)
	f.addSingleHomed(100)
	f.run(time.Minute)
	s := newScene(f)
	s.only = []string{"1"}
	for range 90 * 60 {
		if f.rand.IntN(3) == 0 {
			f.replaceAny()
		}
		s.play(time.Second)
	}
	s.result()
	return s
}

func sceneGate() *scene {
	s := sceneOf(newFleet(2, 10, 10), time.Minute)
	s.say("2 pods become 3")
	s.scale(3)
	s.play(10 * time.Minute)
	s.result()
	return s
}

func sceneSilent() *scene {
	f := newFleet(4, 0, 1)
	f.addSingleHomed(40)
	s := sceneOf(f, time.Minute)
	s.say("20 more clients connect to pod 1; pods 3 and 4 no longer report")
	for i := range 20 {
		f.place(f.pods[0], &singleClient{key: fmt.Sprintf("late-%d", i)}, false)
	}
	f.silent = map[string]bool{f.pods[2]: true, f.pods[3]: true}
	s.play(time.Minute)
	s.say("pods 3 and 4 report again")
	f.silent = nil
	s.play(time.Minute)
	s.result()
	return s
}

// replaceAny lets one client of the fleet end, any with the same chance, and another connect.
func (f *fleet) replaceAny() {
	at := f.rand.IntN(len(f.singleHomed))
	for _, pod := range f.pods {
		conns := f.conns[pod]
		if at >= len(conns) {
			at -= len(conns)
			continue
		}
		delete(f.singleHomed, conns[at].ID)
		f.conns[pod] = slices.Delete(slices.Clone(conns), at, at+1)
		f.departed[pod]++
		break
	}
	f.place(f.anyPod(), &singleClient{key: fmt.Sprint("young-", f.nextID)}, false)
}

// The transcripts are what is read first, so each is short and has a title.
func TestTranscriptsAreComplete(t *testing.T) {
	for _, name := range storedTranscripts(t) {
		text := stored(t, name)
		title, rest, _ := strings.Cut(text, "\n\n")
		if title == "" || strings.Contains(title, "\n") || !strings.Contains(rest, "GOAWAYs in all") && !strings.Contains(rest, "GOAWAY in all") {
			t.Errorf("%s: got no title in one line, or no result", name)
		}
	}
}
