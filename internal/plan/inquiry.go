package plan

import (
	"maps"
	"slices"
)

// inquiry is one round of questions about keys. Each key goes to every new pod, to learn
// whether the client has reached it. It also goes to one witness, a pod that was a member
// before: a client that the witness does not hold is single-homed.
//
// A pod that does not answer is queried again, and its keys go to another witness. So a
// lost answer does not make a single-homed client look multi-homed.
type inquiry struct {
	query       *Query
	keys        []string // sorted
	witness     []string // of each key; empty: there is none
	counts      map[string]map[string]int
	singleHomed map[string]bool // keys that a pod knows to be single-homed
	tries       int
}

// maxTries is how many queries one inquiry may take.
const maxTries = 3

// begin queries for keys.
func (q *inquiry) begin(id uint64, keys, added []string, witnesses *owners, self string) {
	*q = inquiry{
		query: &Query{ID: id, Keys: map[string][]string{}}, keys: keys,
		witness: witnesses.witnessesOf(keys, self), counts: map[string]map[string]int{},
	}
	if len(keys) == 0 {
		return
	}
	group(q.keys, q.witness, q.query.Keys)
	for _, pod := range added {
		if pod != self {
			q.query.Keys[pod] = append(q.query.Keys[pod], keys...)
		}
	}
}

// alsoAsk queries each of the pods for the keys as well.
func (q *inquiry) alsoAsk(keys, pods []string, self string) {
	for _, pod := range pods {
		if pod != self && len(keys) > 0 {
			q.query.Keys[pod] = union(q.query.Keys[pod], keys)
		}
	}
}

// take keeps the answers. It reports whether another query, with the given ID, must
// follow.
func (q *inquiry) take(c *Counts, id uint64, witnesses *owners, self string) (again bool) {
	q.tries++
	if len(c.SingleHomed) > 0 {
		q.singleHomed = withKeys(q.singleHomed, slices.Collect(maps.Keys(c.SingleHomed)))
	}
	silent := map[string][]string{}
	for pod, keys := range q.query.Keys {
		if counts, ok := c.ByPod[pod]; ok {
			q.keep(pod, counts)
		} else {
			silent[pod] = keys
		}
	}
	if len(silent) == 0 || q.tries == maxTries {
		return false
	}
	q.replaceWitnesses(silent, witnesses, self)
	q.query = &Query{ID: id, Keys: silent}
	return true
}

func (q *inquiry) keep(pod string, counts map[string]int) {
	old := q.counts[pod]
	if old == nil {
		q.counts[pod] = counts
		return
	}
	maps.Copy(old, counts)
}

// replaceWitnesses finds another witness for the keys of silent ones, and adds the keys to
// the next query.
func (q *inquiry) replaceWitnesses(silent map[string][]string, witnesses *owners, self string) {
	rest := newOwners(slices.DeleteFunc(slices.Clone(witnesses.pods), func(pod string) bool { return silent[pod] != nil }))
	var keys, pods []string
	for i, key := range q.keys {
		if silent[q.witness[i]] == nil {
			continue
		}
		if pod := rest.witnessOf(key, self); pod != "" {
			q.witness[i] = pod
			keys, pods = append(keys, key), append(pods, pod)
		}
	}
	group(keys, pods, silent)
}

// witnessed returns how many of the key's connections its witness holds. It is not known
// if there is no witness, or if the witness did not answer.
func (q *inquiry) witnessed(key string) (n int, known bool) {
	i, ok := slices.BinarySearch(q.keys, key)
	if !ok {
		return 0, false
	}
	counts, known := q.counts[q.witness[i]]
	return counts[key], known
}

// reached returns how many channels of key have reached the least well reached of the
// pods. Pods that did not answer are left out: if none did, it is 0.
func (q *inquiry) reached(key string, pods []string) int {
	least, answers := 0, false
	for _, pod := range pods {
		if byKey, ok := q.counts[pod]; ok {
			if n := byKey[key]; !answers || n < least {
				least, answers = n, true
			}
		}
	}
	return least
}

// reachedAny reports whether a client has reached one of the pods.
func (q *inquiry) reachedAny(key string, pods []string) bool {
	return slices.ContainsFunc(pods, func(pod string) bool { return q.counts[pod][key] > 0 })
}

// answered reports whether at least one of the pods answered.
func (q *inquiry) answered(pods []string) bool {
	return slices.ContainsFunc(pods, func(pod string) bool { return q.counts[pod] != nil })
}

// group adds each key to its pod's list in byPod. The lists share one piece of memory. Keys
// with an empty pod are left out.
func group(keys, pods []string, byPod map[string][]string) {
	counts := make(map[string]int, len(byPod))
	for _, pod := range pods {
		counts[pod]++
	}
	all := make([]string, len(keys))
	lists := make(map[string][]string, len(counts))
	for pod, n := range counts {
		lists[pod], all = all[:0:n], all[n:]
	}
	for i, key := range keys {
		lists[pods[i]] = append(lists[pods[i]], key)
	}
	delete(lists, "")
	for pod, list := range lists {
		byPod[pod] = append(byPod[pod], list...)
	}
}
