package peerz

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// Index holds counts by hashed key, so that many questions cost one round of hashing.
// It allocates nothing per key beyond its map. It is not safe for concurrent use
// while it is filled.
type Index struct {
	counts map[[hashLen]byte]int
	sticky map[[hashLen]byte]bool
	mac    hash.Hash // nil: no salt
	key    []byte
	sum    [sha256.Size]byte
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

// AddSingleHomed notes that key's client is on one pod only.
func (x *Index) AddSingleHomed(key string) {
	if x.sticky == nil {
		x.sticky = make(map[[hashLen]byte]bool)
	}
	x.sticky[x.hash(key)] = true
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

// Count returns the count of a hashed key, 0 for one that is not there or that no
// [Hasher] of this version makes, and whether its client is on one pod only.
func (x *Index) Count(hashed string) (n int, sticky bool) {
	var sum [hashLen]byte
	if len(hashed) != hex.EncodedLen(hashLen) {
		return 0, false
	}
	if _, err := hex.Decode(sum[:], []byte(hashed)); err != nil {
		return 0, false
	}
	return x.counts[sum], x.sticky[sum]
}
