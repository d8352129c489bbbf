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

// Names in the embedded DNS. The servers learn of each other by one at once; the
// clients' one may lag behind.
const (
	peersName   = "peers.test"
	clientsName = "hello.test"
)

// reportEvery is how finely the clients' calls are measured.
const reportEvery = 250 * time.Millisecond

// ports are the same on every address.
type ports struct{ grpc, http, dns int }

// column is one fleet with its own DNS and its own clients.
type column struct {
	o     *options
	id    string
	title string
	net   int // 127.0.net.0/24
	ports ports
	self  []string // this program, for its hidden commands
	sayf  func(string, ...any)

	dns      *fleet.DNS
	tally    *fleet.Tally
	stopOnce sync.Once
	figure   figure // of the phase that is on; the timeline's alone

	mu      sync.Mutex
	clients []*fleet.Proc
	servers map[string]*fleet.Server // serving or stopping
	next    int                      // number of the next pod
	members []string                 // pods that should serve
	dnsFull time.Time                // when the clients' DNS had or will have all of them
	seen    map[string]rebalance.Status
	samples []sample
}

// sample is what the pods said of themselves at one moment, those that are gone
// included.
type sample struct {
	at      time.Time
	goaways int
	opened  int
}

func newColumn(o *options, id string, p ports, self []string, say func(string, ...any)) *column {
	title := map[string]string{
		withEvenkeel: "with evenkeel",
		withAge:      "MaxConnectionAge=" + strings.TrimSuffix(o.maxAge.String(), "m0s"),
		withNothing:  "with nothing",
	}[id]
	return &column{
		o: o, id: id, title: title, net: nets[id], ports: p, self: self,
		sayf:    func(format string, args ...any) { say("%-9s "+format, append([]any{id}, args...)...) },
		tally:   fleet.NewTally(reportEvery),
		servers: map[string]*fleet.Server{},
		seen:    map[string]rebalance.Status{},
		next:    1,
	}
}

// Hosts of one column's network: pods from 1 on, the DNS that the servers ask, and
// one for each client, which tells when that client asked.
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

// serverArgs are the flags that make the difference between the fleets.
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
		// As good as the watch of EndpointSlices that it stands for.
		"peers.dns.interval=200ms",
		"clients.dns.name=" + clientsName,
		"clients.dns.server=" + c.serversDNS(),
	}, c.o.set...) {
		args = append(args, "-set", one)
	}
	return args
}

func podName(number int) string { return fmt.Sprintf("pod-%d", number) }

// memberLocked: it should serve.
func (c *column) memberLocked(name string) bool { return slices.Contains(c.members, name) }

// fullAt is when the clients' DNS had, or will have, all members.
func (c *column) fullAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dnsFull
}

// startTimeout is far beyond what a process takes to be ready, on a busy machine too.
const startTimeout = 30 * time.Second

// grow starts n pods. Each is in DNS as soon as it is ready.
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
	name := podName(number)
	s, err := fleet.StartServer(ctx, fleet.ServerSpec{
		Command:  append(slices.Clone(c.self), serveCommand),
		Name:     name,
		Host:     c.host(number),
		GRPCPort: c.ports.grpc,
		HTTPPort: c.ports.http,
		Args:     c.serverArgs(),
		Log: func(line string) {
			if c.o.logs != "" {
				c.sayf("%s: %s", name, line)
			}
		},
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[name] = s
	c.members = append(c.members, name)
	slices.Sort(c.members)
	c.announceLocked()
	return nil
}

// announceLocked puts the members into DNS: for the servers at once, for the
// clients with the lag.
func (c *column) announceLocked() {
	var addrs []netip.Addr
	for _, name := range c.members {
		addrs = append(addrs, netip.MustParseAddr(c.servers[name].Spec.Host))
	}
	c.dns.Set(peersName, addrs...)
	lag := c.o.dnsLag
	switch {
	case len(c.clients) == 0:
		lag = 0 // the beginning is not what the lag is about
	case c.o.dnsNever:
		return
	}
	c.dns.SetAfter(lag, clientsName, addrs...)
	c.dnsFull = time.Now().Add(lag)
}

// drop takes pods out of DNS and returns them; they still serve.
func (c *column) drop(names ...string) []*fleet.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*fleet.Server
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

// startClients starts all of them; they call until they are stopped.
func (c *column) startClients() error {
	for i := range c.o.clients {
		source := fmt.Sprintf("127.0.9.%d", 1+i)
		if c.o.oneKey {
			source = "127.0.9.1"
		}
		p, err := fleet.StartClient(fleet.ClientSpec{
			Command:  append(slices.Clone(c.self), callCommand),
			Target:   fmt.Sprintf("dns://%s/%s:%d", c.clientDNS(i), clientsName, c.ports.grpc),
			Channels: c.o.channels,
			Rate:     c.o.rate / float64(c.o.clients),
			Source:   source,
			Every:    reportEvery,
			OnReport: c.tally.Add,
			Log:      func(line string) { c.sayf("client: %s", line) },
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

// lastQuery is when any client last asked DNS.
func (c *column) lastQuery() time.Time {
	var last time.Time
	for i := range c.o.clients {
		if t := c.dns.Last(c.clientDNS(i), clientsName); t.After(last) {
			last = t
		}
	}
	return last
}

// channels is how many there are over all client processes.
func (c *column) channels() int { return c.o.clients * c.o.channels }

// connected: every channel has a connection to every pod.
func (c *column) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, name := range c.members {
		n += c.seen[name].Connections
	}
	return n >= c.channels()*len(c.members)
}

// sampleEvery is how often the pods are asked how they are.
const sampleEvery = 500 * time.Millisecond

// watchPods samples until ctx is done.
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

// takeSample asks all pods at once. Of one that does not answer, what it said last
// stays.
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
				c.seen[name] = st
			}
		})
	}
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := sample{at: time.Now()}
	for _, st := range c.seen {
		now.opened += int(st.Opened)
		for _, n := range st.GoAways {
			now.goaways += int(n)
		}
	}
	c.samples = append(c.samples, now)
}

// at returns the last sample that was complete at t.
func (c *column) at(t time.Time) sample {
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

// verdicts returns the pods' own words, by pod.
func (c *column) verdicts() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]string{}
	for _, name := range c.members {
		out[name] = string(c.seen[name].Verdict)
	}
	return out
}

// lastWords prints what evenkeel's pods said last of themselves, for who has to find out
// why a promise broke.
func (c *column) lastWords(w io.Writer) {
	if c.id != withEvenkeel {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.members {
		st := c.seen[name]
		fmt.Fprintf(w, "%s: %d connections, GOAWAYs %v, %s: %s\n", name, st.Connections, st.GoAways, st.Verdict, st.Why)
		for _, cond := range st.Conditions {
			fmt.Fprintf(w, "  condition %s: %s\n", cond.Code, cond.Text)
		}
		for _, d := range st.Decisions {
			fmt.Fprintf(w, "  %s %s %d: %s\n", d.At.Format("15:04:05.000"), d.Action, d.Count, d.Why)
		}
	}
}

// stopPatience is for clients, which wait for the calls they have begun.
const stopPatience = 2 * time.Second

// stop ends every process. Nothing is measured any more: servers are killed.
func (c *column) stop() {
	c.mu.Lock()
	clients, servers := slices.Clone(c.clients), maps.Clone(c.servers)
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range clients {
		wg.Go(func() { p.Stop(stopPatience) })
	}
	wg.Wait()
	for _, s := range servers {
		s.Kill()
		<-s.Done()
	}
	if c.dns != nil {
		c.dns.Close()
	}
}
