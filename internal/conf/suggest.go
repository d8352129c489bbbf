package conf

import "strings"

// suggest returns the key that was most likely meant by a wrong one, or "". It
// looks for the same key with another spelling of it first, then for the same
// name in another group: policy.cooldown is rebalance.cooldown misplaced.
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

// nearest returns the candidate with the fewest edits, if these are few for the
// length of the word. Ties go to the alphabet, for the same message each time.
func nearest(wrong string, candidates []string) string {
	const longest = 80 // beyond it nothing is near, and the distance costs its square
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

// fold takes away what people mix up without thinking: case and the way words
// are joined.
func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// distance is how many bytes must be put in, left out, changed or swapped with
// their neighbour to make b of a (optimal string alignment).
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

// unknown is the text for a key that does not exist.
func unknown(what, meant string) string {
	if meant == "" {
		return "unknown " + what
	}
	return "unknown " + what + ", did you mean " + meant + "?"
}
