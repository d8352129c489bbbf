package plan

import (
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
)

// owners finds the pod that tells a key's client, by rendezvous hashing over the
// pods that were there before: all pods come to the same answer without talking,
// and a pod that leaves hands on its own keys only.
//
// The pods' hashes are taken once; a key then costs one hash and a few
// multiplications per pod.
type owners struct {
	pods   []string
	hashes []uint64
}

func newOwners(pods []string) *owners {
	o := &owners{pods: pods, hashes: make([]uint64, len(pods))}
	for i, pod := range pods {
		o.hashes[i] = xxhash.Sum64String(pod)
	}
	return o
}

// of returns the owner in the given round, from 1: the heaviest for the key, then
// the next. It is empty without pods.
func (o *owners) of(key string, round int) string {
	if len(o.pods) == 0 {
		return ""
	}
	h := xxhash.Sum64String(key)
	best, below := 0, uint64(math.MaxUint64)
	for range (round-1)%len(o.pods) + 1 {
		best = o.heaviest(h, below)
		below = mix(h, o.hashes[best])
	}
	return o.pods[best]
}

// other returns the heaviest pod that is not self; empty if there is none.
func (o *owners) other(key, self string) string {
	for round := 1; round <= min(2, len(o.pods)); round++ {
		if pod := o.of(key, round); pod != self {
			return pod
		}
	}
	return ""
}

// heaviest returns the pod with the greatest weight below the bound.
func (o *owners) heaviest(h, below uint64) int {
	best, most := 0, uint64(0)
	for i, p := range o.hashes {
		if w := mix(h, p); w >= most && w < below {
			best, most = i, w
		}
	}
	return best
}

// mix joins two hashes so that each pod's order of the keys is its own (the
// finalizer of MurmurHash3).
func mix(a, b uint64) uint64 {
	x := a ^ b
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// longServing is how old a pod is for sure established: every round for the growth
// that brought it is over.
const longServing = 4 * DefaultCheckAfter

// established returns the pods that spread clients have reached, those that may own
// keys: who has served for long, or nearly as long as the oldest. To be strict costs
// nothing, since the oldest hold the connections of all. It goes by
// the pods' own uptimes, so that all pods come to the same answer, those included
// that were not there to see who came when. A pod whose uptime is not known counts.
//
//	1h 1h 1h            all
//	1h 1h 20s           the first two: the third may have no connections yet
//	40s 40s 10s         the first two
//	40s 39s             both: a service that was just begun
func established(pods []string, uptime map[string]time.Duration) []string {
	oldest := time.Duration(0)
	for _, pod := range pods {
		oldest = max(oldest, uptime[pod])
	}
	var out []string
	for _, pod := range pods {
		if up, known := uptime[pod]; !known || up >= min(longServing, oldest*9/10) {
			out = append(out, pod)
		}
	}
	return out
}
