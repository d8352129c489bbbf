package main

import (
	"math/bits"
	"sync/atomic"
)

// ledger is the servers' record of which RPCs they have executed, by ID. IDs are dense, so
// two bits each are enough: ten million RPCs take 2.5 MB.
type ledger struct {
	once, twice []atomic.Uint64
}

// newLedger returns a ledger for the IDs below n.
func newLedger(n uint64) *ledger {
	words := n/64 + 1
	return &ledger{once: make([]atomic.Uint64, words), twice: make([]atomic.Uint64, words)}
}

// execute records that a handler has been called for this ID. It reports whether the ID is
// one of the ledger's.
func (l *ledger) execute(id uint64) bool {
	word, bit := id/64, uint64(1)<<(id%64)
	if word >= uint64(len(l.once)) {
		return false
	}
	if l.once[word].Or(bit)&bit != 0 {
		l.twice[word].Or(bit)
	}
	return true
}

// executed reports whether a handler has been called for this ID.
func (l *ledger) executed(id uint64) bool {
	return l.once[id/64].Load()&(1<<(id%64)) != 0
}

// counts returns how many RPCs were executed at all, and how many more than once.
func (l *ledger) counts() (executed, twice uint64) {
	for i := range l.once {
		executed += uint64(bits.OnesCount64(l.once[i].Load()))
		twice += uint64(bits.OnesCount64(l.twice[i].Load()))
	}
	return executed, twice
}
