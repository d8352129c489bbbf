package fleet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNS is an authoritative DNS server for the addresses of a few names, over UDP and
// TCP. Every other name does not exist. Its methods may be called from any
// goroutine.
//
// On loopback every query comes from 127.0.0.1, so its source does not identify the
// client. To tell clients apart, give each its own address of the server to query;
// Last returns the time of the latest query to that address.
type DNS struct {
	ttl     uint32
	servers []*dns.Server

	mu     sync.Mutex
	names  map[string]entry
	calls  uint64 // number of calls of Set and SetAfter
	last   map[string]time.Time
	timers []*time.Timer
	closed bool
}

// entry holds the addresses of a name, and the number of the call that set them.
type entry struct {
	addrs []netip.Addr
	call  uint64
}

// ListenDNS serves on each of addrs ("127.0.0.1:5300"), over UDP and TCP. ttl is the
// TTL of its answers, rounded down to whole seconds; with 0 they must not be cached.
func ListenDNS(ttl time.Duration, addrs ...string) (*DNS, error) {
	d := &DNS{
		ttl:   uint32(ttl / time.Second),
		names: map[string]entry{},
		last:  map[string]time.Time{},
	}
	for _, addr := range addrs {
		if err := d.listen(addr); err != nil {
			d.Close()
			return nil, fmt.Errorf("dns: %w", err)
		}
	}
	return d, nil
}

// listenBoth listens on the same port for UDP and TCP. If addr lets the system choose
// the port, a port that is free for UDP may be taken for TCP: then it tries another.
func listenBoth(addr string) (udp net.PacketConn, tcp net.Listener, err error) {
	for range portTries {
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			return nil, nil, err
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp, nil
		}
		_ = udp.Close()
		if _, port, _ := net.SplitHostPort(addr); port != "0" {
			break
		}
	}
	return nil, nil, err
}

func (d *DNS) listen(addr string) error {
	udp, tcp, err := listenBoth(addr)
	if err != nil {
		return err
	}
	local := udp.LocalAddr().String()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { d.serve(local, w, q) })
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() { _ = s.ActivateAndServe() }()
		// A Shutdown before the server has started would have no effect.
		<-up
		d.servers = append(d.servers, s)
	}
	return nil
}

// Addrs returns the addresses that it listens on, in the order given to ListenDNS.
func (d *DNS) Addrs() []string {
	var out []string
	for _, s := range d.servers {
		if s.PacketConn != nil {
			out = append(out, s.PacketConn.LocalAddr().String())
		}
	}
	return out
}

// Set replaces the addresses of name. Without addrs, the name exists and has no
// address.
func (d *DNS) Set(name string, addrs ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	d.setLocked(name, entry{slices.Clone(addrs), d.calls})
}

// SetAfter is Set after a delay, as if behind a cache. It has no effect if a later call
// has set the name by then: timers that expire together run in any order.
func (d *DNS) SetAfter(lag time.Duration, name string, addrs ...netip.Addr) {
	if lag <= 0 {
		d.Set(name, addrs...)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.calls++
	e := entry{slices.Clone(addrs), d.calls}
	d.timers = append(d.timers, time.AfterFunc(lag, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.setLocked(name, e)
	}))
}

func (d *DNS) setLocked(name string, e entry) {
	name = dns.CanonicalName(name)
	if e.call > d.names[name].call {
		d.names[name] = e
	}
}

// Get returns the current addresses of name.
func (d *DNS) Get(name string) []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.names[dns.CanonicalName(name)].addrs)
}

// Last returns the time of the latest query for name to addr, which is one of Addrs. It
// returns the zero time if there was none.
func (d *DNS) Last(addr, name string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last[addr+" "+dns.CanonicalName(name)]
}

// Close stops the server and cancels pending SetAfter calls.
func (d *DNS) Close() {
	d.mu.Lock()
	d.closed = true
	for _, t := range d.timers {
		t.Stop()
	}
	d.mu.Unlock()
	for _, s := range d.servers {
		_ = s.Shutdown()
	}
}

func (d *DNS) serve(local string, w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		_ = w.WriteMsg(m)
		return
	}
	d.answer(local, m)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		m.Truncate(udpSize(q))
	}
	_ = w.WriteMsg(m)
}

// udpSize is the longest answer that the client accepts over UDP (RFC 6891; 512 bytes
// without EDNS).
func udpSize(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return max(dns.MinMsgSize, int(opt.UDPSize()))
	}
	return dns.MinMsgSize
}

// answer adds the answers to m in random order, as cluster DNS does.
func (d *DNS) answer(local string, m *dns.Msg) {
	question := m.Question[0]
	name := dns.CanonicalName(question.Name)
	d.mu.Lock()
	e, known := d.names[name]
	addrs := slices.Clone(e.addrs)
	d.last[local+" "+name] = time.Now()
	d.mu.Unlock()
	if !known {
		m.Rcode = dns.RcodeNameError
		return
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for _, a := range addrs {
		head := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: d.ttl}
		switch {
		case question.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: a.AsSlice()})
		case question.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
		}
	}
}
