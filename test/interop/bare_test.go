//go:build interop

package interop

import (
	"syscall"
	"testing"
	"time"
)

// runBare runs one row before servers without evenkeel, whose MaxConnectionAge is the time between
// two drains of the others. It has no limits: it only counts what such servers cost the client.
func (r row) runBare(t *testing.T) outcome {
	s := startServer(t, r, true)
	var p *proxy
	if r.proxy != nil {
		p = r.proxy(t, s)
	}
	c := startClient(t, r.argv, r.args(t, s, p), r.load.env())
	o := outcome{name: r.name, seconds: r.seconds(t)}
	o.result = c.result(t, time.Duration(o.seconds)*time.Second)
	c.end(t)
	if p != nil {
		p.stop(t)
		o.Version = p.label(o.Version)
	}
	o.totals = totals{Served: s.served(t), Opened: s.sum(t, opened)}
	if o.Failed > 0 {
		t.Logf("%d of %d calls failed, and %d reached a handler: %v", o.Failed, o.Calls, o.Served, o.Errors)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.exit(t)
	return o
}

func opened(st status) int { return st.Opened }
