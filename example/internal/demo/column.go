package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Names in the embedded DNS. Servers find each other by peersName, which is always up to
// date. Clients resolve clientsName, which may lag behind.
const (
	peersName   = "peers.test"
	clientsName = "hello.test"
)

// reportEvery is the interval at which clients report their calls.
const reportEvery = 250 * time.Millisecond

// ports are the same on every address.
type ports struct{ grpc, http, dns, web int }

// column is one fleet with its own DNS server and its own clients.
type column struct {
	o     *options
	id    string
	title string
	net   int // 127.0.net.0/24
	ports ports
	self  []string // runs this program, for its hidden commands
	logf  func(string, ...any)

	dns      *fleet.DNS
	vip      *fleet.VIP // nil unless clients are single-homed
	tally    *fleet.Tally
	stopOnce sync.Once
	figure   figure // of the current phase; only the timeline uses it

	mu      sync.Mutex
	clients []*fleet.Proc
	servers map[string]*pod // serving or stopping
	next    int             // number of the next pod
	members []string        // pods that are in DNS, or will be
	dnsFull time.Time       // when the clients' DNS had or will have all members
	status  map[string]rebalance.Status
	samples []sample
}

// sample adds up the counters of all pods at one moment. A pod that has ended counts with
// its last known values.
type sample struct {
	at      time.Time
	goaways int
	opened  int
}

func newColumn(o *options, id string, p ports, self []string, logf func(string, ...any)) *column {
	title := map[string]string{
		withEvenkeel: "with evenkeel",
		withAge:      "MaxConnectionAge=" + strings.TrimSuffix(o.maxAge.String(), "m0s"),
		withNothing:  "with nothing",
	}[id]
	return &column{
		o: o, id: id, title: title, net: nets[id], ports: p, self: self,
		logf:    func(format string, args ...any) { logf("%-9s "+format, append([]any{id}, args...)...) },
		tally:   fleet.NewTally(reportEvery),
		servers: map[string]*pod{},
		status:  map[string]rebalance.Status{},
		next:    1,
	}
}

// Hosts of a column's network: pods have the numbers from 1 on. DNS listens on one
// address for the servers and on one for each client, so that it knows when each client
// has queried it.
func (c *column) host(n int) string      { return fmt.Sprintf("127.0.%d.%d", c.net, n) }
func (c *column) serversDNS() string     { return fmt.Sprintf("%s:%d", c.host(250), c.ports.dns) }
func (c *column) clientDNS(i int) string { return fmt.Sprintf("%s:%d", c.host(200+i), c.ports.dns) }

func (c *column) startDNS() error {
	addrs := []string{c.serversDNS()}
	for i := range c.o.clients {
		addrs = append(addrs, c.clientDNS(i))
	}
	var err error
	c.dns, err = fleet.ListenDNS(c.o.dnsTTL, addrs...)
	return err
}

// serverArgs returns the flags in which the fleets differ.
func (c *column) serverArgs() []string {
	level := "error"
	if c.id == withEvenkeel && c.o.logs != "" {
		level = c.o.logs
	}
	args := []string{"-log-level", level}
	switch c.id {
	case withAge:
		return append(args, "-bare", "-bare-max-connection-age", c.o.maxAge.String())
	case withNothing:
		return append(args, "-bare")
	}
	for _, one := range append([]string{
		"peers.source=dns",
		"peers.dns.name=" + peersName,
		"peers.dns.server=" + c.serversDNS(),
		// This is as fast as the watch of EndpointSlices that it stands in for.
		"peers.dns.interval=200ms",
		"clients.dns.name=" + clientsName,
		"clients.dns.server=" + c.serversDNS(),
	}, c.o.set...) {
		args = append(args, "-set", one)
	}
	return args
}

func podName(number int) string { return fmt.Sprintf("pod-%d", number) }

// memberLocked reports whether the pod is a member.
func (c *column) memberLocked(name string) bool { return slices.Contains(c.members, name) }

// dnsFullAt returns when the clients' DNS had, or will have, all members.
func (c *column) dnsFullAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dnsFull
}

// startTimeout is far longer than a process takes to become ready, even on a busy machine.
const startTimeout = 30 * time.Second

// grow starts n pods. It adds each to DNS as soon as the pod is ready.
func (c *column) grow(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		c.mu.Lock()
		number := c.next
		c.next++
		c.mu.Unlock()
		wg.Go(func() { errs[i] = c.startPod(ctx, number) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *column) startPod(ctx context.Context, number int) error {
	s, err := c.startProcesses(ctx, number)
	if err != nil {
		return err
	}
	name := podName(number)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[name] = s
	c.members = append(c.members, name)
	slices.Sort(c.members)
	c.announceLocked()
	return nil
}

// announceLocked puts the members into DNS: at once for the servers, and after the lag for
// the clients.
func (c *column) announceLocked() {
	c.routeLocked()
	var addrs []netip.Addr
	for _, name := range c.members {
		addrs = append(addrs, netip.MustParseAddr(c.servers[name].Spec.Host))
	}
	c.dns.Set(peersName, addrs...)
	lag := c.o.dnsLag
	switch {
	case len(c.clients) == 0:
		lag = 0 // the first pods are in DNS from the start
	case c.o.dnsNever:
		return
	}
	c.dns.SetAfter(lag, clientsName, addrs...)
	c.dnsFull = time.Now().Add(lag)
}

// drop removes pods from DNS and returns them. They keep serving.
func (c *column) drop(names ...string) []*pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*pod
	for _, name := range names {
		out = append(out, c.servers[name])
	}
	c.members = slices.DeleteFunc(c.members, func(name string) bool { return slices.Contains(names, name) })
	c.announceLocked()
	return out
}

func (c *column) pods() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// startClients starts all clients. They make calls until they are stopped.
func (c *column) startClients() error {
	for i := range c.o.clients {
		target, args := c.clientOf(i)
		p, err := fleet.StartClient(fleet.ClientSpec{
			Command:  append(slices.Clone(c.self), callCommand),
			Target:   target,
			Args:     args,
			Channels: c.o.channels,
			Rate:     c.o.rate / float64(c.o.clients),
			Source:   c.source(i),
			Every:    reportEvery,
			OnReport: c.tally.Add,
			Log:      func(line string) { c.logf("client: %s", line) },
		})
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.clients = append(c.clients, p)
		c.mu.Unlock()
	}
	return nil
}

// lastQuery returns the time of the latest DNS query of any client.
func (c *column) lastQuery() time.Time {
	var last time.Time
	for i := range c.o.clients {
		if t := c.dns.Last(c.clientDNS(i), clientsName); t.After(last) {
			last = t
		}
	}
	return last
}

// channels returns the number of channels of all client processes.
func (c *column) channels() int { return c.o.clients * c.o.channels }

// connected reports whether every channel has its connections: to every pod, or one.
func (c *column) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, name := range c.members {
		n += c.status[name].Connections
	}
	return n >= c.wantedLocked()
}

// sampleEvery is how often the status of the pods is fetched.
const sampleEvery = 500 * time.Millisecond

// watchPods takes samples until ctx is done.
func (c *column) watchPods(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		c.takeSample(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// takeSample fetches the status of all pods concurrently. A pod that does not answer keeps
// its last known status.
func (c *column) takeSample(ctx context.Context) {
	c.mu.Lock()
	servers := maps.Clone(c.servers)
	c.mu.Unlock()
	var wg sync.WaitGroup
	for name, s := range servers {
		wg.Go(func() {
			if st, err := s.Status(ctx); err == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.status[name] = st
			}
		})
	}
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := sample{at: time.Now()}
	for _, st := range c.status {
		now.opened += int(st.Opened)
		for _, n := range st.GoAways {
			now.goaways += int(n)
		}
	}
	c.samples = append(c.samples, now)
}

// sampleAt returns the latest sample that was complete at t.
func (c *column) sampleAt(t time.Time) sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last sample
	for _, s := range c.samples {
		if s.at.After(t) {
			break
		}
		last = s
	}
	return last
}

// verdicts returns the verdict of each member.
func (c *column) verdicts() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]string{}
	for _, name := range c.members {
		out[name] = string(c.status[name].Verdict)
	}
	return out
}

// printStatus prints the last known status of evenkeel's pods, which helps to find out why
// a promise broke.
func (c *column) printStatus(w io.Writer) {
	if c.id != withEvenkeel {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.members {
		st := c.status[name]
		fmt.Fprintf(w, "%s has %d connections and sent GOAWAYs %v; it is %s: %s\n", name, st.Connections, st.GoAways, st.Verdict, st.Why)
		for _, cond := range st.Conditions {
			fmt.Fprintf(w, "  condition %s: %s\n", cond.Code, cond.Text)
		}
		for _, d := range st.Decisions {
			fmt.Fprintf(w, "  %s %s %d: %s\n", d.At.Format("15:04:05.000"), d.Action, d.Count, d.Why)
		}
	}
}

// clientStopTimeout is how long clients may wait for their calls in flight.
const clientStopTimeout = 2 * time.Second

// stop ends every process. Nothing is measured any longer, so servers are killed.
func (c *column) stop() {
	c.mu.Lock()
	clients, servers := slices.Clone(c.clients), maps.Clone(c.servers)
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range clients {
		wg.Go(func() { p.Stop(clientStopTimeout) })
	}
	wg.Wait()
	for _, s := range servers {
		s.Kill()
		s.wait()
	}
	if c.vip != nil {
		c.vip.Close()
	}
	if c.dns != nil {
		c.dns.Close()
	}
}
