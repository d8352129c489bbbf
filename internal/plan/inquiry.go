package plan

import (
	"maps"
	"slices"
)

// inquiry is one round of questions about keys: each is put to every new pod, which has been
// reached or not, and to one witness that was there before: a client that it does not
// hold is on one pod only. Who does not answer is asked again, and of witnesses
// another, so that an answer that was lost does not make a sticky client look spread.
type inquiry struct {
	ask     *Query
	keys    []string // sorted
	witness []string // of each key; empty: there is none
	counts  map[string]map[string]int
	sticky  map[string]bool // keys that a pod knows to be on one pod only
	tries   int
}

// maxTries is how often is asked in one inquiry.
const maxTries = 3

// begin asks for keys.
func (q *inquiry) begin(id uint64, keys, added []string, others *owners, self string) {
	*q = inquiry{
		ask: &Query{ID: id, Keys: map[string][]string{}}, keys: keys,
		witness: others.witnesses(keys, self), counts: map[string]map[string]int{},
	}
	if len(keys) == 0 {
		return
	}
	group(q.keys, q.witness, q.ask.Keys)
	for _, pod := range added {
		if pod != self {
			q.ask.Keys[pod] = append(q.ask.Keys[pod], keys...)
		}
	}
}

// take keeps the answers, and reports whether there is more to ask, now under the given ID.
func (q *inquiry) take(c *Counts, id uint64, others *owners, self string) (again bool) {
	q.tries++
	if len(c.SingleHomed) > 0 {
		q.sticky = withKeys(q.sticky, slices.Collect(maps.Keys(c.SingleHomed)))
	}
	silent := map[string][]string{}
	for pod, keys := range q.ask.Keys {
		if counts, ok := c.ByPod[pod]; ok {
			q.keep(pod, counts)
		} else {
			silent[pod] = keys
		}
	}
	if len(silent) == 0 || q.tries == maxTries {
		return false
	}
	q.askOthers(silent, others, self)
	q.ask = &Query{ID: id, Keys: silent}
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

// askOthers finds another witness for the keys whose own was silent.
func (q *inquiry) askOthers(silent map[string][]string, others *owners, self string) {
	rest := newOwners(slices.DeleteFunc(slices.Clone(others.pods), func(pod string) bool { return silent[pod] != nil }))
	var keys, pods []string
	for i, key := range q.keys {
		if silent[q.witness[i]] == nil {
			continue
		}
		if pod := rest.other(key, self); pod != "" {
			q.witness[i] = pod
			keys, pods = append(keys, key), append(pods, pod)
		}
	}
	group(keys, pods, silent)
}

// witnessed returns how often the key's witness holds it; known is false if there is none,
// or it did not answer.
func (q *inquiry) witnessed(key string) (n int, known bool) {
	i, ok := slices.BinarySearch(q.keys, key)
	if !ok {
		return 0, false
	}
	counts, known := q.counts[q.witness[i]]
	return counts[key], known
}

// reached is how many channels of key the least well reached of the pods has. A pod that
// did not answer is left out: if none did, 0.
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

// answered reports whether one of the pods did.
func (q *inquiry) answered(pods []string) bool {
	return slices.ContainsFunc(pods, func(pod string) bool { return q.counts[pod] != nil })
}

// group adds to byPod each key for its pod, in lists that share one piece of memory. Keys
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
