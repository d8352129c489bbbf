package health

import (
	"bytes"
	"strings"
	"testing"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// unequal is a fleet whose pods should carry different loads: one has four cores, one warms up.
func unequal() rebalance.Status {
	return rebalance.Status{
		Pod: "pod-a", Connections: 42, Load: 42, MeanLoad: 40, Band: rebalance.Band{Over: 44, Under: 28},
		Weight: "connections", Share: 4, Warm: 1, Cores: 4,
		Peers: []rebalance.PeerStatus{
			{Pod: "pod-a", Address: "10.0.0.1", Ready: true, Connections: 42, Load: carries(42), Share: 4, Warm: 1, Self: true},
			{Pod: "pod-b", Address: "10.0.0.2", Ready: true, Connections: 10, Load: carries(10), Share: 1, Warm: 1},
			{Pod: "pod-c", Address: "10.0.0.3", Ready: true, Connections: 2, Load: carries(2), Share: 0.25, Warm: 0.25},
			{Pod: "pod-d", Address: "10.0.0.4", Error: "timeout"},
		},
	}
}

func TestTextWithShares(t *testing.T) {
	var b bytes.Buffer
	writeText(&b, look(newFake(unequal())), epoch)
	for _, want := range []string{
		"load         42 (connections); mean 10 per share; with a share of 4, this pod is over-loaded above 44, under-loaded below 28\n",
		"share        4, its cores\n",
		"PEER   ADDRESS   STATE    CONNECTIONS  LOAD  SHARE\n",
		"pod-a  10.0.0.1  ready    42           42    4\n",
		"pod-c  10.0.0.3  ready    2            2     0.25\n",
		"pod-d  10.0.0.4  timeout  ?            ?     ?\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

func TestShareLine(t *testing.T) {
	for want, st := range map[string]rebalance.Status{
		"1":                       {},
		"0.4, warmed up to 40 %":  {Share: 0.4, Warm: 0.4},
		"2":                       {Share: 2, Warm: 1, Cores: 4},
		"4, its cores":            {Share: 4, Warm: 1, Cores: 4},
		"0.75, warmed up to 25 %": {Share: 0.75, Warm: 0.25, Cores: 3},
	} {
		if got := shareLine(st); got != want {
			t.Errorf("%+v: got %q, want %q", st, got, want)
		}
	}
}

// Rows and mean of the page are per share, so that even pods look even.
func TestPageWithShares(t *testing.T) {
	d := newPageData(look(newFake(unequal())), epoch, true)
	var rows []string
	for _, p := range d.Peers {
		rows = append(rows, p.Load+" "+p.Share+" "+p.Delta)
	}
	if got := strings.Join(rows, ", "); got != "42 4 +5 %, 10 1 +0 %, 2 0.25 -20 %, ? ? " {
		t.Errorf("rows %q", got)
	}
	if !d.Shares || d.Mean != "10" || d.Peers[0].Width != 100 || d.Facts[5].Value != "4" || d.Facts[5].Note != "its cores" {
		t.Errorf("mean %s, width %v, facts %+v", d.Mean, d.Peers[0].Width, d.Facts)
	}
	body := get(t, handler(t, newFake(unequal())), "/").Body.String()
	for _, want := range []string{"mean 10 per share</td>", `<th scope="col" class="num">Share</th>`, `<td class="num">0.25</td>`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// Where all pods are alike, a share is nothing that a person must know.
func TestNoSharesWherePodsAreAlike(t *testing.T) {
	st := sampleStatus(epoch)
	for name, share := range map[string]float64{"of a version before": 0, "1": 1} {
		st.Share = share
		for i := range st.Peers {
			st.Peers[i].Share = share
		}
		var b bytes.Buffer
		writeText(&b, look(newFake(st)), epoch)
		page := get(t, handler(t, newFake(st)), "/").Body.String()
		if strings.Contains(strings.ToLower(b.String()+page), "share") {
			t.Errorf("%s: shares are shown", name)
		}
	}
	st.Peers[1].Share = 0.5
	if !sharesDiffer(st) {
		t.Error("one pod has another share, which is not shown")
	}
}
