package rebalance

import (
	"fmt"
	"slices"
	"sync"
)

// runners are the Balancers of this process that are in Run.
var runners struct {
	mu  sync.Mutex // guards what follows
	all []*Balancer
}

func (b *Balancer) joinRunners() {
	runners.mu.Lock()
	defer runners.mu.Unlock()
	runners.all = append(runners.all, b)
}

func (b *Balancer) leaveRunners() {
	runners.mu.Lock()
	defer runners.mu.Unlock()
	runners.all = slices.DeleteFunc(runners.all, func(o *Balancer) bool { return o == b })
}

// rivals returns how many other Balancers run for this pod.
func (b *Balancer) rivals() int {
	runners.mu.Lock()
	all := slices.Clone(runners.all)
	runners.mu.Unlock()
	n := 0
	for _, o := range all {
		if o != b && b.rival(o) {
			n++
		}
	}
	return n
}

// rival reports whether b and o should be one Balancer.
//
//	o is stopping, or has another name or address    no: the next one begins; a fleet in one process
//	each has a source of its own, for two Services   no: they balance different fleets
//	both have the same source                        yes: peers hear of one of them
//	otherwise, both track connections                yes: each balances a part of the pod's load
func (b *Balancer) rival(o *Balancer) bool {
	if !o.ready() || b.opts.pod != o.opts.pod || b.opts.addr != o.opts.addr {
		return false
	}
	if b.opts.source != nil && o.opts.source != nil {
		return b.opts.source.String() == o.opts.source.String()
	}
	return b.reg.Brief().Connections > 0 && o.reg.Brief().Connections > 0
}

func (b *Balancer) severalText() string {
	n := b.rivals()
	return onlyIf(n > 0, fmt.Sprintf("%d Balancers of this process run for pod %q, so each balances a part of its load and only one can answer peers: "+
		"pass one Balancer to all servers", n+1, b.opts.pod))
}

// quietText is about connections that never come. The condition holds from the beginning of
// Run and is shown after 5 min: longer than the three rounds of a growth, after which a pod
// that has clients to get has some.
func (b *Balancer) quietText() string {
	return onlyIf(b.reg.Brief().Opened == 0, "no connection has been tracked yet: no client has connected, "+
		"the gRPC server was made without serveropts.Options(bal, creds), or the web server serves without serveropts.HTTPServer(bal, srv)")
}
