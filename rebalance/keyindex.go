package rebalance

import (
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

const (
	// indexShared is how long queries share one index of hashes. After a growth each of the
	// other pods queries hundreds or thousands of keys at about the same moment. And whoever
	// queries again and again costs two indexes a second, not one for each query.
	indexShared = 500 * time.Millisecond
	// indexKept is when the memory of an index is released.
	indexKept = 5 * time.Second
)

// keyIndex counts this pod's connections by hashed key, for the queries of peers. It is filled
// for one query at a time, so that hashing takes one core at most. It holds no lock that a
// connection needs, and a poll without keys does not wait for it.
type keyIndex struct {
	mu    sync.Mutex // guards what follows; an index that has been filled never changes
	at    time.Time  // when index was filled
	index *peerz.Index
	keys  []keyCount // a buffer
}

type keyCount struct {
	key string
	n   int
}

// answer fills r with the answer to a query for hashed keys. singleHomed has the keys whose
// clients this pod has found to be single-homed.
func (x *keyIndex) answer(r *peerz.Report, reg *conns.Registry, h peerz.Hasher, singleHomed map[string]bool, hashed []string) {
	index := x.filled(reg, h, singleHomed)
	r.Keys = make(map[string]int)
	for _, key := range hashed {
		n, single := index.Count(key)
		if n > 0 {
			r.Keys[key] = n
		}
		if single {
			r.SingleHomed = append(r.SingleHomed, key)
		}
	}
}

// filled returns an index that is no older than the queries may share.
func (x *keyIndex) filled(reg *conns.Registry, h peerz.Hasher, singleHomed map[string]bool) *peerz.Index {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.index == nil || time.Since(x.at) >= indexShared {
		x.fillLocked(reg, h, singleHomed)
	}
	return x.index
}

// fillLocked copies the keys under the registry's lock and hashes them without it.
func (x *keyIndex) fillLocked(reg *conns.Registry, h peerz.Hasher, singleHomed map[string]bool) {
	x.keys = x.keys[:0]
	x.at = time.Now()
	reg.EachKey(func(key string, serving int) bool {
		x.keys = append(x.keys, keyCount{key, serving})
		return true
	})
	x.index = h.NewIndex(len(x.keys))
	for _, k := range x.keys {
		x.index.Add(k.key, k.n)
	}
	for key := range singleHomed {
		x.index.AddSingleHomed(key)
	}
}

// drop releases the memory of an index that no query has used recently.
func (x *keyIndex) drop() {
	if !x.mu.TryLock() {
		return // it is being filled for a query, and planning does not wait for that
	}
	defer x.mu.Unlock()
	if time.Since(x.at) >= indexKept {
		x.index, x.keys = nil, nil
	}
}
