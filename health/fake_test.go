package health

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// fake is a source with a Status that the test sets.
type fake struct {
	mu       sync.Mutex
	st       rebalance.Status
	starts   []peerz.Start // heard from peers
	stopping chan struct{}
	closing  chan struct{}
	stopOnce sync.Once
	seen     atomic.Int64
	port     atomic.Int64
	failed   atomic.Pointer[error] // the last HealthFailed
	tls      *tls.Config           // of peers.tls
	refuse   error                 // what CheckPeer returns
	members  map[netip.Addr]bool
}

var _ source = (*fake)(nil)

func newFake(st rebalance.Status) *fake {
	return &fake{st: st, stopping: make(chan struct{}), closing: make(chan struct{})}
}

func (f *fake) Status() rebalance.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.st
	st.Ready = f.Ready()
	return st
}

func (f *fake) set(st rebalance.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.st = st
}

func (f *fake) Report(keys []string) peerz.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return peerz.Report{Pod: f.st.Pod, Ready: f.Ready(), Connections: f.st.Connections}
}

func (f *fake) Starts(s peerz.Start) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, s)
}

func (f *fake) Ready() bool {
	select {
	case <-f.stopping:
		return false
	default:
		return true
	}
}

func (f *fake) Stopping() <-chan struct{} { return f.stopping }
func (f *fake) Closing() <-chan struct{}  { return f.closing }
func (f *fake) stop()                     { f.stopOnce.Do(func() { close(f.stopping) }) }
func (f *fake) SetHealthPort(port int)    { f.port.Store(int64(port)) }

func (f *fake) HealthFailed(_ string, err error) { f.failed.Store(&err) }

func (f *fake) Seen(context.Context) bool {
	f.seen.Add(1)
	return true
}

func (f *fake) PeersTLS() *tls.Config { return f.tls }

func (f *fake) IsMember(addr netip.Addr) bool { return f.members[addr] }

func (f *fake) Members() int { return len(f.members) }

func (f *fake) CheckPeer(*tls.ConnectionState) error { return f.refuse }

// epoch is an arbitrary time.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// carries returns a PeerStatus.Load.
func carries(load float64) *float64 { return &load }

// sampleStatus is a fleet of five, two of them new.
func sampleStatus(now time.Time) rebalance.Status {
	return rebalance.Status{
		Pod: "hello-7d4b9c6f5-abcde", Uptime: "3h12m4s", Connections: 112, Draining: 4, Streams: 31,
		Opened: 503, Keys: 40, Generation: 3, Source: "kubernetes shop/hello",
		Peers: []rebalance.PeerStatus{
			{Pod: "hello-7d4b9c6f5-abcde", Address: "10.1.0.11", Ready: true, Connections: 112, Load: carries(108), Self: true},
			{Pod: "hello-7d4b9c6f5-fghij", Address: "10.1.0.12", Ready: true, Connections: 97, Load: carries(97)},
			{Pod: "hello-7d4b9c6f5-klmno", Address: "10.1.2.7", Ready: true, Connections: 104, Load: carries(104)},
			{Pod: "hello-7d4b9c6f5-pqrst", Address: "10.1.3.2", Ready: true, Connections: 41, Load: carries(41)},
			{Pod: "hello-7d4b9c6f5-uvwxy", Address: "10.1.3.9", Error: "timeout after 1s"},
		},
		Weight: "connections", Load: 108, MeanLoad: 87.5, Band: rebalance.Band{Over: 97, Under: 61.25},
		GoAways:    map[string]uint64{"reach": 40, "even": 12, "shutdown": 0},
		Closed:     map[string]uint64{"clean": 48, "client": 391, "forced": 1},
		PeerErrors: map[string]uint64{"timeout": 7},
		Verdict:    rebalance.Moving,
		Why:        "12 of 112 connections are moving to 2 new pods; the pods' reports are read again in 30 s.",
		Conditions: []rebalance.Condition{
			{Code: "untracked", Severity: rebalance.Error, Since: now.Add(-90 * time.Second), Text: "RPCs arrive on connections that are not tracked: another grpc.Creds replaced those of serveropts.Options. Pass your credentials to serveropts.Options(bal, creds) and remove your own grpc.Creds option."},
			{Code: "peer-unreachable", Severity: rebalance.Warning, Since: now.Add(-12 * time.Minute), Text: "hello-7d4b9c6f5-uvwxy does not answer on port 8080. Check that a NetworkPolicy lets pods of the Service reach each other there."},
			{Code: "dns-behind", Severity: rebalance.Info, Since: now.Add(-4 * time.Second), Text: "DNS does not list all pods yet."},
		},
		Decisions: []rebalance.Decision{
			{At: now.Add(-3 * time.Second), Action: "reach", Count: 12, Why: "owner of 12 channels of multi-homed clients; DNS listed all pods 3 times in a row"},
			{At: now.Add(-33 * time.Second), Action: "wait", Why: "DNS lists 3 of 5 pods"},
			{At: now.Add(-43 * time.Second), Action: "wait", Why: "membership changed 1 s ago, settling for 10 s"},
			{At: now.Add(-3 * time.Hour), Action: "none", Why: "balanced: all pods are within 10 % of the mean"},
		},
		Tracked: 503, Plans: 2300, PlanSeconds: 0.31,
	}
}
