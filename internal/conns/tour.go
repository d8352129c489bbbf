package conns

// tour is an unordered list of connections that is walked a part at a time, while others come
// and go. One walk visits each connection once that is there from its beginning to its end, and
// none that comes meanwhile.
type tour struct {
	list  []*Conn
	below int // the connections from this index on have been visited, or have come since
	// pos is where a connection keeps its index in list. It is negative outside of the list.
	pos func(*Conn) *int32
}

func (t *tour) add(c *Conn) {
	*t.pos(c) = int32(len(t.list))
	t.list = append(t.list, c)
}

// remove fills a gap among those still to be visited with one of these.
func (t *tour) remove(c *Conn) {
	gap := int(*t.pos(c))
	if gap < t.below {
		t.below--
		t.move(t.below, gap)
		gap = t.below
	}
	last := len(t.list) - 1
	if gap < last {
		t.move(last, gap)
	}
	t.list[last] = nil
	t.list = t.list[:last]
	*t.pos(c) = isGone
}

func (t *tour) move(from, to int) {
	c := t.list[from]
	t.list[to] = c
	*t.pos(c) = int32(to)
}

// begin begins a walk.
func (t *tour) begin() { t.below = len(t.list) }

// over reports whether the walk is over.
func (t *tour) over() bool { return t.below == 0 }

// next returns the connection to visit next. The walk must not be over.
func (t *tour) next() *Conn {
	t.below--
	return t.list[t.below]
}

// visited reports whether the walk needs to visit the connection no more.
func (t *tour) visited(c *Conn) bool { return int(*t.pos(c)) >= t.below }
