package kube

import (
	"fmt"
	"time"

	discovery "k8s.io/api/discovery/v1"
)

// Add adds or replaces a slice; it is part of cache.ReflectorStore.
func (w *watcher) Add(obj any) error {
	es, ok := obj.(*discovery.EndpointSlice)
	if !ok {
		return fmt.Errorf("not an EndpointSlice: %T", obj)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.slices) >= maxSlices && w.slices[es.Name] == nil {
		return fmt.Errorf("the Service has more than %d EndpointSlices", maxSlices)
	}
	w.slices[es.Name], w.members = toSlice(es), nil
	w.notify()
	return nil
}

// Update replaces a slice; it is part of cache.ReflectorStore.
func (w *watcher) Update(obj any) error { return w.Add(obj) }

// Delete removes a slice; it is part of cache.ReflectorStore.
func (w *watcher) Delete(obj any) error {
	es, ok := obj.(*discovery.EndpointSlice)
	if !ok {
		return fmt.Errorf("not an EndpointSlice: %T", obj)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.slices, es.Name)
	w.members = nil
	w.notify()
	return nil
}

// Replace takes a complete list; it is part of cache.ReflectorStore.
func (w *watcher) Replace(all []any, _ string) error {
	now := make(map[string]*slice, len(all))
	for _, obj := range all {
		es, ok := obj.(*discovery.EndpointSlice)
		if !ok {
			return fmt.Errorf("not an EndpointSlice: %T", obj)
		}
		now[es.Name] = toSlice(es)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slices, w.members = now, nil
	w.synced, w.fresh, w.err, w.waitingSince = true, true, nil, time.Time{}
	w.notify()
	return nil
}

// Resync does nothing; it is part of cache.ReflectorStore.
func (w *watcher) Resync() error { return nil }

// notify wakes reportChanges, unless a wake-up is pending already.
func (w *watcher) notify() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
