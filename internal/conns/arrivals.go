package conns

import (
	"net"
	"runtime"
	"time"
	"weak"
)

// arrival is a connection whose client has not begun to speak HTTP/2. The registry does not
// keep it alive. If grpc-go drops it unclosed, it leaves the index with its memory.
type arrival struct {
	conn    weak.Pointer[Conn]
	since   time.Duration
	cleanup runtime.Cleanup
}

// dropped is what remains of an arrival that was dropped unclosed.
type dropped struct {
	reg  *Registry
	conn weak.Pointer[Conn]
	addr net.Addr
	id   uint64
}

func (r *Registry) arriveLocked(c *Conn) {
	w := weak.Make(c)
	d := dropped{reg: r, conn: w, addr: c.wire.RemoteAddr(), id: c.id}
	r.arriving[c.id] = arrival{conn: w, since: r.Now(), cleanup: runtime.AddCleanup(c, forgetDropped, d)}
}

func forgetDropped(d dropped) {
	indexRemove(d.addr, d.conn)
	d.reg.mu.Lock()
	defer d.reg.mu.Unlock()
	delete(d.reg.arriving, d.id)
}

func (r *Registry) arrivedLocked(c *Conn) {
	r.arriving[c.id].cleanup.Stop()
	delete(r.arriving, c.id)
}
