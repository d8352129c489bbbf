package plan

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// said has every sentence that the fleets of all tests came to: verdicts, notes, and what
// drained clients read in their GOAWAY.
var said sync.Map

func (f *fleet) hear(st *Step) {
	f.hearOne(st.Why)
	for _, n := range st.Notes {
		f.hearOne(n.Why)
	}
	for _, d := range st.Drains {
		f.hearOne(d.Why)
	}
}

// hearOne keeps most sentences, which come again and again, away from the shared map.
func (f *fleet) hearOne(sentence string) {
	if sentence == "" || f.heard[sentence] {
		return
	}
	f.heard[sentence] = true
	said.Store(sentence, true)
}

// verbs are those that planning's sentences use. A sentence without one is a fragment.
var verbs = regexp.MustCompile(`\b(is|are|was|were|has|have|had|does|do|did|cannot|can|could|may|must|needs?|` +
	`drains?|drained|sent|sends|checks?|queries|queried|lists?|comes?|came|carry|carries|moves?|moved|changed|shrank|grew|` +
	`makes?|added|find|finds|waits?|answered|lacks?|reached|connected|reported|became|exceeds?|returned|stays?|ended)\b`)

// A sentence begins with a subject, and at most two words of what is being done stand before
// it: "waiting for DNS: hello.test lists 2 of 5 pods".
var dangling = regexp.MustCompile(`^(who|what|which|whoever|whatever|asked|told|telling|asking|looked|looking)\b`)

// worn are words of many meanings that the glossary has retired.
var worn = regexp.MustCompile(`\b(told|asked|turns?)\b`)

func wrongWith(sentence string) string {
	switch lower := strings.ToLower(sentence); {
	case !verbs.MatchString(lower):
		return "has no verb"
	case dangling.MatchString(lower):
		return "has no subject"
	case worn.MatchString(lower):
		return "uses a word that the glossary has retired"
	case strings.Contains(lower, "  "), strings.Contains(lower, "%!"):
		return "is malformed"
	}
	return ""
}

func TestMain(m *testing.M) {
	code := m.Run()
	said.Range(func(key, _ any) bool {
		if wrong := wrongWith(key.(string)); wrong != "" {
			fmt.Fprintf(os.Stderr, "FAIL: the sentence %q %s\n", key, wrong)
			code = 1
		}
		return true
	})
	os.Exit(code)
}

func TestWrongWith(t *testing.T) {
	for sentence, want := range map[string]string{
		"waiting for DNS: hello.test lists 2 of 5 pods": "",
		"all 5 pods are inside the band":                "",
		"2 to 5 pods, round 1":                          "has no verb",
		"who owns the keys drains them":                 "has no subject",
		"%!d(string=x) pods are there":                  "is malformed",
	} {
		if got := wrongWith(sentence); got != want {
			t.Errorf("%q: %q, want %q", sentence, got, want)
		}
	}
}
