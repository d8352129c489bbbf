package plan

import (
	"strings"
	"testing"
	"time"
)

// Where no DNS name is known, no sentence is about what DNS answers.
func TestNoWordOfDNSWithoutAName(t *testing.T) {
	f := newFleet(2, 20, 20)
	f.noGate = true
	f.run(time.Minute)
	f.scale(5)
	f.run(10 * time.Minute)
	if f.goaways["reach"] == 0 {
		t.Error("got no GOAWAY for the new pods")
	}
	for sentence := range f.heard {
		if strings.Contains(sentence, "DNS") && !strings.Contains(sentence, "no DNS name") {
			t.Errorf("%q, though no DNS was queried", sentence)
		}
	}
}

// A pod whose peers do not answer does not know that it is alone. What it decides is the same.
func TestPeersThatDoNotAnswer(t *testing.T) {
	f := newFleet(1, 3, 3)
	f.unheard = 2
	f.run(10 * time.Second)
	f.wantVerdicts(t, Stale)
	if !f.heard["0 of 2 peers answer on the health port, so it is not known whether this pod is alone"] {
		t.Errorf("heard %v", f.heard)
	}
	f.unheard = 0
	f.run(time.Second)
	f.wantVerdicts(t, Balanced)
	f.scale(3)
	f.resolveAll()
	f.run(time.Minute)
	f.wantOnAll(t)
}
