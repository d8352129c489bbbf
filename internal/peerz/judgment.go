package peerz

import (
	"strings"
	"unicode"
)

const (
	maxVerdict = 40  // characters; those of today have at most 13
	maxWhy     = 240 // characters: what a person reads in a table
)

// Judgment is the part of a Report that is for people: no decision depends on it. Older versions of
// evenkeel send none of it. What is too long is cut off rather than refused, since newer versions
// may have longer sentences.
type Judgment struct {
	// Verdict is the pod's own word on the balance, such as "balanced".
	Verdict string `json:"verdict,omitempty"`
	// Why is the sentence beside it. A pod that is balanced sends none.
	Why string `json:"why,omitempty"`
}

func (j Judgment) clipped() Judgment {
	return Judgment{Verdict: clip(j.Verdict, maxVerdict), Why: clip(j.Why, maxWhy)}
}

// clip returns the first characters of s, without those that cannot be printed.
func clip(s string, most int) string {
	n := 0
	return strings.Map(func(r rune) rune {
		if n++; n > most || !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
}
