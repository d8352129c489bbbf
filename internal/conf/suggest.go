package conf

import "strings"

// suggest returns the key that a wrong one most likely stands for, or "". It first looks
// for a similar spelling, then for the same name in another group: policy.cooldown stands
// for rebalance.cooldown.
func (t *Tree) suggest(wrong string) string {
	if key := nearest(wrong, t.candidates()); key != "" {
		return key
	}
	for _, key := range t.order {
		if fold(last(key)) == fold(last(wrong)) {
			return key
		}
	}
	return ""
}

func (t *Tree) candidates() []string {
	all := t.Keys()
	for group := range t.groups {
		all = append(all, group)
	}
	return all
}

// Guard names keys and groups that protect something. A key that does not exist but most likely
// stands for one of them is wrong, not merely Unknown. Call it before the layers.
//
// Keys to come must not look like these, or an older version would refuse them.
func (t *Tree) Guard(keys ...string) { t.guards = append(t.guards, keys...) }

// guarded returns the guarded key that an unknown one most likely stands for, or "". The unknown
// one is spelt like it, or has its name but lacks a level above it.
func (t *Tree) guarded(key string) string {
	if g := nearest(key, t.guards); g != "" {
		return g
	}
	above := strings.TrimSuffix(key, last(key))
	for _, g := range t.guards {
		if fold(last(g)) == fold(last(key)) && strings.HasPrefix(g, above) {
			return g
		}
	}
	return ""
}

// nearest returns the candidate with the fewest edits, if they are few for the length of the
// word. Of equally near ones the first in the alphabet wins, so the message is always the
// same.
func nearest(wrong string, candidates []string) string {
	const longest = 80 // beyond it nothing is near, and the cost grows with the square
	if len(wrong) > longest {
		return ""
	}
	best, found := "", 1+max(1, len(last(wrong))/4)
	for _, c := range candidates {
		d := distance(fold(wrong), fold(c))
		if d < found || d == found && best != "" && c < best {
			best, found = c, d
		}
	}
	return best
}

// fold removes the differences that people mix up most easily: case, and the way in which
// words are joined.
func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// distance returns the number of bytes that must be inserted, deleted, changed or swapped
// with their neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	var before, row []int
	next := make([]int, len(b)+1)
	for j := range next {
		next[j] = j
	}
	for i := range len(a) {
		before, row, next = row, next, make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
	}
	return next[len(b)]
}

// unknown returns the text of the error for a key that does not exist.
func unknown(what, meant string) string {
	if meant == "" {
		return "unknown " + what
	}
	return "unknown " + what + ", did you mean " + meant + "?"
}
