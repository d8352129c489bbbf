package rebalance

import (
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

const (
	// manyKeys is from how many keys on questions share one round of hashing: fewer are
	// hashed within a millisecond or two, anew for each.
	manyKeys = 10_000
	// indexShared is for how long they do. After a growth each pod asks for thousands of
	// keys, 512 at a time; an answer is on its way for as long.
	indexShared = 500 * time.Millisecond
	// indexKept is when its memory is given back.
	indexKept = 5 * time.Second
)

// keyIndex counts this pod's connections by hashed key, for peers that ask. One question
// at a time is answered: hashing takes one core at most, and no lock that a connection
// needs.
type keyIndex struct {
	mu    sync.Mutex
	at    time.Time // when index was filled
	index *peerz.Index
	keys  []keyCount // a buffer
}

type keyCount struct {
	key string
	n   int
}

// answer answers a question for hashed keys, into r; sticky are those of clients that are on
// one pod only.
func (x *keyIndex) answer(r *peerz.Report, reg *conns.Registry, h peerz.Hasher, sticky map[string]bool, hashed []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.index == nil || len(x.keys) < manyKeys || time.Since(x.at) >= indexShared {
		x.fillLocked(reg, h, sticky)
	}
	r.Keys = make(map[string]int)
	for _, key := range hashed {
		n, sticky := x.index.Count(key)
		if n > 0 {
			r.Keys[key] = n
		}
		if sticky {
			r.SingleHomed = append(r.SingleHomed, key)
		}
	}
}

// fillLocked copies the keys under the registry's lock and hashes them outside of it.
func (x *keyIndex) fillLocked(reg *conns.Registry, h peerz.Hasher, sticky map[string]bool) {
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
	for key := range sticky {
		x.index.AddSingleHomed(key)
	}
}

// drop gives back the memory of what nobody asks for any more.
func (x *keyIndex) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if time.Since(x.at) >= indexKept {
		x.index, x.keys = nil, nil
	}
}
