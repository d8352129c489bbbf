package peerview

import "github.com/evenkeel-go/evenkeel/internal/peerz"

// Capacity is what a pod tells of the load that it can carry.
type Capacity struct {
	// Cores is its CPU limit in cores; 0: not known.
	Cores float64
	// Share is the share that its program says; 0: it does not say.
	Share float64
}

// share returns the capacity as a part of the pod's share.
func (c Capacity) share(cores bool) float64 {
	share := 1.0
	if c.Share > 0 {
		share = c.Share
	}
	if cores && c.Cores > 0 {
		share *= c.Cores
	}
	return share
}

func capacityOf(r *peerz.Report) Capacity { return Capacity{Cores: r.Cores, Share: r.Share} }

// Capacities finds out whether the cores of pods are part of their shares. All pods must come
// to the same answer, so it depends on nothing but what they tell. The zero value has no pods.
//
//	cores of the pods             they count
//	2, 2, 2                       no: nothing would change
//	2, 2, 4                       yes
//	2, 4, not known               no: the third pod may be of any size
//	2, 4, and one tells a share   no: the programs know better
type Capacities struct {
	least, most float64
	void        bool
}

// Add adds a pod.
func (a *Capacities) Add(c Capacity) {
	if c.Cores <= 0 || c.Share > 0 {
		a.void = true
	}
	if a.least == 0 || c.Cores < a.least {
		a.least = c.Cores
	}
	a.most = max(a.most, c.Cores)
}

// CoresCount reports whether the cores are part of the shares.
func (a *Capacities) CoresCount() bool { return !a.void && a.least < a.most }

// SetCapacity sets what this pod tells of itself. It is rounded as it is on the wire: a third of
// a core must not differ from the third of a core that another pod tells.
func (b *Book) SetCapacity(c Capacity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.capacity = Capacity{Cores: peerz.Rounded(c.Cores), Share: peerz.Rounded(c.Share)}
}

// Capacity returns this pod's capacity as it tells it, and the part of its share that follows
// from it and from what the others tell.
func (b *Book) Capacity() (c Capacity, share float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.capacity, b.capacity.share(b.coresCountLocked())
}

// coresCountLocked asks the last report of each pod that serves, however old it is. A size does
// not change with time, and in a large fleet most reports are old: a pod that went by the fresh
// ones would come to another answer than the next pod, and to another one each second.
func (b *Book) coresCountLocked() bool {
	var all Capacities
	all.Add(b.capacity)
	for i := range b.members {
		m := &b.members[i]
		if r := b.records[m.id]; r != nil && r.at > 0 && r.report.Ready && !m.self && b.servesLocked(m) {
			all.Add(capacityOf(&r.report))
		}
		if all.void {
			break
		}
	}
	return all.CoresCount()
}

// part is a part that a report leaves out if it is 1.
func part(x float64) float64 {
	if x == 0 {
		return 1
	}
	return x
}
