package peerz

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// Index holds counts by hashed key, so that keys are hashed once for many requests. It
// allocates nothing per key besides its map. While it is being filled, it is not safe for
// concurrent use; after that, Count is.
type Index struct {
	counts      map[[hashLen]byte]int
	singleHomed map[[hashLen]byte]bool
	mac         hash.Hash // nil: no salt
	key         []byte
	sum         [sha256.Size]byte
}

// NewIndex returns an empty Index with room for n keys, hashed as h hashes them.
func (h Hasher) NewIndex(n int) *Index {
	x := &Index{counts: make(map[[hashLen]byte]int, n)}
	if len(h.salt) > 0 {
		x.mac = hmac.New(sha256.New, h.salt)
	}
	return x
}

// Add adds n to the count of key.
func (x *Index) Add(key string, n int) { x.counts[x.hash(key)] += n }

// AddSingleHomed marks the client of key as single-homed.
func (x *Index) AddSingleHomed(key string) {
	if x.singleHomed == nil {
		x.singleHomed = make(map[[hashLen]byte]bool)
	}
	x.singleHomed[x.hash(key)] = true
}

func (x *Index) hash(key string) [hashLen]byte {
	x.key = append(x.key[:0], key...)
	if x.mac == nil {
		x.sum = sha256.Sum256(x.key)
	} else {
		x.mac.Reset()
		x.mac.Write(x.key)
		x.mac.Sum(x.sum[:0])
	}
	return [hashLen]byte(x.sum[:])
}

// Count returns the count of a hashed key and whether its client is single-homed. It returns
// 0 for a key that was not added, and for one that no [Hasher] of this version makes.
func (x *Index) Count(hashed string) (n int, singleHomed bool) {
	var sum [hashLen]byte
	if len(hashed) != hex.EncodedLen(hashLen) {
		return 0, false
	}
	if _, err := hex.Decode(sum[:], []byte(hashed)); err != nil {
		return 0, false
	}
	return x.counts[sum], x.singleHomed[sum]
}
