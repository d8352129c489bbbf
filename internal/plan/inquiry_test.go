package plan

import (
	"slices"
	"testing"
)

// A witness that does not answer is queried again, together with another one in its place.
func TestSilentWitnessIsReplaced(t *testing.T) {
	witnesses := newOwners([]string{"a", "b", "c"})
	var q inquiry
	q.begin(1, []string{"k"}, []string{"new"}, witnesses, "a")
	first := q.witness[0]
	if first == "a" || !slices.Equal(q.query.Keys[first], []string{"k"}) || !slices.Equal(q.query.Keys["new"], []string{"k"}) {
		t.Fatalf("got query %v with witness %s, want the key for the witness and the new pod", q.query.Keys, first)
	}
	if again := q.take(&Counts{Query: 1, ByPod: map[string]map[string]int{"new": {}}}, 2, witnesses, "a"); !again || q.query.ID != 2 {
		t.Fatalf("got query %d, again %v, want another query", q.query.ID, again)
	}
	second := q.witness[0]
	if second == "a" || second == first {
		t.Fatalf("got %s in place of the silent witness %s, want the third pod", second, first)
	}
	if _, known := q.witnessed("k"); known {
		t.Error("the count of a silent witness is known")
	}
	if again := q.take(&Counts{Query: 2, ByPod: map[string]map[string]int{first: {}, second: {"k": 2}}}, 3, witnesses, "a"); again {
		t.Errorf("got another query %v after all pods answered", q.query.Keys)
	}
	if n, known := q.witnessed("k"); n != 2 || !known {
		t.Errorf("got %d connections on the witness (known: %v), want 2", n, known)
	}
}

func TestInquiryEndsAfterMaxTries(t *testing.T) {
	witnesses := newOwners([]string{"a", "b"})
	var q inquiry
	q.begin(1, []string{"k"}, []string{"new"}, witnesses, "a")
	tries := 1
	for q.take(&Counts{}, uint64(tries+1), witnesses, "a") {
		tries++
	}
	if tries != maxTries || q.answered([]string{"b", "new"}) {
		t.Errorf("got %d tries without an answer, want %d", tries, maxTries)
	}
}
