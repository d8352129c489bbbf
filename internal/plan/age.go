package plan

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/evenkeel-go/evenkeel/internal/reason"
)

// ager applies the backstop age. A connection is drained at MaxAge, 10 % earlier or
// later, and never more than a fifteenth of the connections in a second. So connections
// that were opened at the same moment are not drained at the same moment.
type ager struct {
	from time.Duration // the next connection may be drained from then on
}

const (
	ageJitter = 0.1
	// ageShare is the part of all connections that may be drained in a second. A tenth
	// is the promise; a fifteenth keeps it for any second, wherever it begins.
	ageShare = 1.0 / 15
	// ageInterval is how often ages are checked.
	ageInterval = time.Second
)

// next drains the connections that have reached their age, the oldest first.
func (a *ager) next(v *View, p *Policy, st *Step) {
	if p.MaxAge <= 0 {
		return
	}
	st.wakeAt(v.Now+ageInterval, v.Now)
	due := dueConns(v, p.MaxAge)
	if len(due) == 0 {
		return
	}
	gap := min(time.Duration(float64(time.Second)/(ageShare*float64(len(v.Conns)))), time.Second)
	late := time.Duration(0) // how much a late tick may make up for
	if gap < catchUp {
		late = catchUp
	}
	a.from = max(a.from, v.Now-late)
	for _, d := range due {
		if a.from > v.Now {
			st.wakeAt(a.from, v.Now)
			return
		}
		st.Drains = append(st.Drains, Drain{ID: d.id, Reason: reason.Age, Why: "the connection reached its maximum age"})
		a.from += gap
	}
}

type dueConn struct {
	id uint64
	at time.Duration
}

func dueConns(v *View, age time.Duration) []dueConn {
	var due []dueConn
	for i := range v.Conns {
		c := &v.Conns[i]
		if c.Draining {
			continue
		}
		if at := dueAt(c, v.Self, age); at <= v.Now {
			due = append(due, dueConn{c.ID, at})
		}
	}
	slices.SortFunc(due, func(x, y dueConn) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.id, y.id))
	})
	return due
}

// dueAt is when the connection reaches its age, with a jitter of its own.
func dueAt(c *Conn, self string, age time.Duration) time.Duration {
	b := binary.LittleEndian.AppendUint64([]byte(self), c.ID)
	f := float64(xxhash.Sum64(b)) / (1 << 64)
	return c.Opened + age + time.Duration((2*f-1)*ageJitter*float64(age))
}
