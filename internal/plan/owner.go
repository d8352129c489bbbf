package plan

import (
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// owners finds the owner of a key, the pod that drains its connections, by rendezvous
// hashing over the pods that were members before. All pods come to the same answer without
// talking, and a removed pod hands over its own keys only.
//
// The pods' hashes are computed once; a key then costs one hash and a few multiplications
// per pod. Many pods are put into groups first, and each key into one of those.
type owners struct {
	pods   []string
	groups []ownerGroup // none is empty
}

// ownerGroup holds the indexes of some pods in owners.pods, and their hashes.
type ownerGroup struct {
	hash   uint64
	at     []int32
	hashes []uint64
}

const (
	// fewOwners is up to how many pods form a single group.
	fewOwners = 64
	// ownerGroups is the number of groups for more pods.
	ownerGroups = 32
)

func newOwners(pods []string) *owners {
	o := &owners{pods: pods}
	n := 1
	if len(pods) > fewOwners {
		n = ownerGroups
	}
	groups := make([]ownerGroup, n)
	for i, pod := range pods {
		h := xxhash.Sum64String(pod)
		g := &groups[h%uint64(n)]
		g.at, g.hashes = append(g.at, int32(i)), append(g.hashes, h)
	}
	for i := range groups {
		groups[i].hash = mix(uint64(i), uint64(n))
	}
	o.groups = slices.DeleteFunc(groups, func(g ownerGroup) bool { return len(g.at) == 0 })
	return o
}

// group returns the group of a key with this hash.
func (o *owners) group(h uint64) *ownerGroup {
	best, most := 0, uint64(0)
	for i := range o.groups {
		if w := mix(h, o.groups[i].hash); w >= most {
			best, most = i, w
		}
	}
	return &o.groups[best]
}

// of returns the key's owner in the given round, from 1: the pod with the greatest weight
// for the key, then the next. It is empty without pods.
func (o *owners) of(key string, round int) string {
	if len(o.pods) == 0 {
		return ""
	}
	h := xxhash.Sum64String(key)
	g := o.group(h)
	best, below := 0, uint64(math.MaxUint64)
	for range (round-1)%len(g.at) + 1 {
		best = g.heaviest(h, below)
		below = mix(h, g.hashes[best])
	}
	return o.pods[g.at[best]]
}

// heaviest returns the place in the group with the greatest weight below the bound.
func (g *ownerGroup) heaviest(h, below uint64) int {
	best, most := 0, uint64(0)
	for i, p := range g.hashes {
		if w := mix(h, p); w >= most && w < below {
			best, most = i, w
		}
	}
	return best
}

// witnessOf returns the key's witness: the owner of the first round, or that of the second
// if self owns the first. So in later rounds it is the pod that drained the client before.
// If the key's group has one pod only, it is the heaviest pod of all groups that is not
// self; empty if there is none.
func (o *owners) witnessOf(key, self string) string {
	for round := 1; round <= 2; round++ {
		if pod := o.of(key, round); pod != self {
			return pod
		}
	}
	h := xxhash.Sum64String(key)
	best, most := "", uint64(0)
	for i := range o.groups {
		g := &o.groups[i]
		for j, p := range g.hashes {
			if w := mix(h, p); w >= most && o.pods[g.at[j]] != self {
				best, most = o.pods[g.at[j]], w
			}
		}
	}
	return best
}

// witnessesOf returns the witness of each key, empty where there is none.
func (o *owners) witnessesOf(keys []string, self string) []string {
	out := make([]string, len(keys))
	for i, key := range keys {
		out[i] = o.witnessOf(key, self)
	}
	return out
}

// mix joins two hashes so that each pod has its own order of the keys (the finalizer of
// MurmurHash3).
func mix(a, b uint64) uint64 {
	x := a ^ b
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// established returns the pods that multi-homed clients have reached, which may own keys.
// They have been serving for long, or nearly as long as the oldest. To be strict costs
// nothing, since the oldest pods hold the connections of all clients.
//
// It goes by the pods' own uptimes, so that all pods come to the same answer. That holds
// even for pods that did not see the others come. A pod of unknown uptime counts.
//
//	1h 1h 1h            all
//	1h 1h 20s           the first two: the third may have no connections yet
//	40s 40s 10s         the first two
//	40s 39s             both: the service has just started
func established(pods []string, uptime map[string]time.Duration) []string {
	oldest := time.Duration(0)
	for _, pod := range pods {
		oldest = max(oldest, uptime[pod])
	}
	var out []string
	for _, pod := range pods {
		if up, known := uptime[pod]; !known || up >= min(establishedAt, oldest*9/10) {
			out = append(out, pod)
		}
	}
	return out
}
