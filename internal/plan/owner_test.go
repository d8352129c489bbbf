package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestEstablished(t *testing.T) {
	up := map[string]time.Duration{"a": time.Hour, "b": establishedAt, "c": establishedAt - 1, "young": 40 * time.Second, "as young": 39 * time.Second, "baby": time.Second}
	for _, tc := range []struct{ pods, want []string }{
		{[]string{"a", "b", "c"}, []string{"a", "b"}},
		{[]string{"as young", "baby", "young"}, []string{"as young", "young"}},
		{[]string{"baby"}, []string{"baby"}},
		{[]string{"a", "unknown"}, []string{"a", "unknown"}},
		{nil, nil},
	} {
		if got := established(tc.pods, up); !slices.Equal(got, tc.want) {
			t.Errorf("%v: got %v, want %v", tc.pods, got, tc.want)
		}
	}
}

// The pod that drained a client in one round is its witness in the next, in large fleets too.
func TestOwnerOfOneRoundIsWitnessOfTheNext(t *testing.T) {
	for _, n := range []int{2, 5, fewOwners, 100, 1000} {
		var pods []string
		for i := range n {
			pods = append(pods, fmt.Sprintf("pod-%04d", i))
		}
		o := newOwners(pods)
		for i := range 200 {
			key := fmt.Sprint("client-", i)
			first, second := o.of(key, 1), o.of(key, 2)
			if got := o.witnessOf(key, second); second != first && got != first {
				t.Fatalf("%d pods: got witness %s for %s in round 2, want %s", n, got, key, first)
			}
			if got := o.witnessOf(key, first); got == first || got == "" {
				t.Fatalf("%d pods: got witness %q for %s, want another pod than its owner %s", n, got, key, first)
			}
		}
	}
}
