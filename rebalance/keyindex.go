package rebalance

import (
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

const (
	// manyKeys is the number of keys from which queries share one index of hashes. Fewer
	// keys are hashed within a millisecond or two, for each query.
	manyKeys = 10_000
	// indexShared is how long they share it. After a growth each pod queries thousands of
	// keys, 512 at a time. An answer takes about as long to arrive.
	indexShared = 500 * time.Millisecond
	// indexKept is when the memory of an index is released.
	indexKept = 5 * time.Second
)

// keyIndex counts this pod's connections by hashed key, for the queries of peers. It answers
// one query at a time, so that hashing takes one core at most. It holds no lock that a
// connection needs.
type keyIndex struct {
	mu    sync.Mutex // guards what follows
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
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.index == nil || len(x.keys) < manyKeys || time.Since(x.at) >= indexShared {
		x.fillLocked(reg, h, singleHomed)
	}
	r.Keys = make(map[string]int)
	for _, key := range hashed {
		n, single := x.index.Count(key)
		if n > 0 {
			r.Keys[key] = n
		}
		if single {
			r.SingleHomed = append(r.SingleHomed, key)
		}
	}
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
		return // a query is being answered, and planning does not wait for it
	}
	defer x.mu.Unlock()
	if time.Since(x.at) >= indexKept {
		x.index, x.keys = nil, nil
	}
}
