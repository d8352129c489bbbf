package peerview

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
)

const (
	// longestQuery bounds a query that takes many requests.
	longestQuery = 15 * time.Second
	// parallelQueries is how many pods are queried at a time.
	parallelQueries = 8
)

// Query sends a query for keys to the pods, once for each ID, and returns at once. When
// Events.Changed is called, Counts has the answers of the pods that gave one. wg waits for
// the query's goroutine.
func (b *Book) Query(ctx context.Context, wg *sync.WaitGroup, q *plan.Query) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queryID == q.ID {
		return
	}
	b.queryID, b.counts = q.ID, nil
	where := map[string]target{}
	for _, t := range b.targetsLocked() {
		where[t.id] = t
	}
	wg.Go(func() {
		b.answered(q.ID, b.askAll(ctx, q, where))
		b.opts.Events.Changed()
	})
}

func (b *Book) answered(id uint64, counts *plan.Counts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queryID == id {
		b.counts = counts
	}
}

// Counts returns the answers to the last query, nil until they are complete.
func (b *Book) Counts() *plan.Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts
}

func (b *Book) askAll(ctx context.Context, q *plan.Query, where map[string]target) *plan.Counts {
	var mu sync.Mutex
	all := &plan.Counts{Query: q.ID, ByPod: map[string]map[string]int{}, SingleHomed: map[string]bool{}}
	var pods []string
	for pod := range q.Keys {
		if _, ok := where[pod]; ok {
			pods = append(pods, pod)
		}
	}
	inParallel(pods, func(pod string) {
		counts, singleHomed, err := b.askKeys(ctx, where[pod], q.Keys[pod])
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		all.ByPod[pod] = counts
		for _, key := range singleHomed {
			all.SingleHomed[key] = true
		}
	})
	return all
}

// errOtherSalt is why an answer does not count: the pod finds none of the keys, wherever their
// clients are.
var errOtherSalt = errors.New("the pod hashes keys with another salt")

// askKeys queries one pod for the number of connections that it has of each key, and for the
// keys that it has found to be single-homed. Many keys take several requests in a row, each with its own time.
func (b *Book) askKeys(ctx context.Context, t target, keys []string) (counts map[string]int, singleHomed []string, err error) {
	hashed := make([]string, len(keys))
	for i, key := range keys {
		hashed[i] = b.hasher.Hash(key)
	}
	requests := (len(keys) + peerz.MaxKeys - 1) / peerz.MaxKeys
	timed, cancel := context.WithTimeout(ctx, min(time.Duration(requests)*QueryTimeout, longestQuery))
	defer cancel()
	r, err := b.client.Ask(timed, t.at.String(), hashed)
	if err == nil {
		err = r.CheckPod(t.pod)
	}
	b.count(ctx, err)
	b.tryNext(ctx, &t, err)
	if err != nil {
		return nil, nil, err
	}
	if b.hasher.OtherSalt(&r) {
		return nil, nil, errOtherSalt
	}
	counts, singleHomed = unhash(&r, keys, hashed)
	return counts, singleHomed, nil
}

// unhash returns an answer's counts by key, and the keys that it has as single-homed.
func unhash(r *peerz.Report, keys, hashed []string) (counts map[string]int, singleHomed []string) {
	counts = make(map[string]int, len(keys))
	single := make(map[string]bool, len(r.SingleHomed))
	for _, h := range r.SingleHomed {
		single[h] = true
	}
	for i, key := range keys {
		counts[key] = r.Keys[hashed[i]]
		if single[hashed[i]] {
			singleHomed = append(singleHomed, key)
		}
	}
	return counts, singleHomed
}

// inParallel calls f for each, a few at a time, and returns when all calls have.
func inParallel[T any](all []T, f func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallelQueries)
	for _, one := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(one)
		})
	}
	wg.Wait()
}
