package plan

import "testing"

// The same cause with another number of connections is no news.
func TestOneCauseIsOneNote(t *testing.T) {
	s, st, p := &State{}, &Step{}, &Policy{}
	for _, why := range []stuck{{multiHomed: 7, serving: 9}, {multiHomed: 8, serving: 9}, {pinned: 8, serving: 9}, {pinned: 9, serving: 9}} {
		s.stuckFor(&why, &View{}, p, st)
		if st.Why != why.text(p) {
			t.Errorf("%+v: got %q, want %q", why, st.Why, why.text(p))
		}
	}
	if len(st.Notes) != 2 {
		t.Errorf("got %d notes, want one for each of two causes", len(st.Notes))
	}
}
