package lookup

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// reply is the test server's answer to one query.
type reply struct {
	code  dnsmessage.RCode
	addrs []netip.Addr // of both families; only those that fit the query are sent
	srv   []dnsmessage.SRVResource
	drop  bool // do not answer at all
}

// server is a DNS server on loopback, with UDP and TCP on one port. It truncates an answer
// that does not fit into a UDP packet, as real servers do.
type server struct {
	addr   string
	answer func(q dnsmessage.Question) reply

	mu      sync.Mutex
	queries []dnsmessage.Question
	tcp     int // number of queries over TCP
}

// serve starts a server that stops with the test.
func serve(t testing.TB, answer func(dnsmessage.Question) reply) *server {
	t.Helper()
	udp, tcp := listen(t)
	s := &server{addr: udp.LocalAddr().String(), answer: answer}
	var wg sync.WaitGroup
	wg.Go(func() { s.serveUDP(udp) })
	wg.Go(func() { s.serveTCP(tcp) })
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		wg.Wait()
	})
	return s
}

// listen finds a port that is free for UDP and TCP.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if udp, err := net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			return udp, tcp
		}
		tcp.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (s *server) serveUDP(c net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if msg := s.reply(buf[:n], 1200); msg != nil {
			_, _ = c.WriteTo(msg, from)
		}
	}
}

func (s *server) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.serveConn(c)
	}
}

// serveConn answers one query; Go's resolver sends no more on a connection.
func (s *server) serveConn(c net.Conn) {
	defer c.Close()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, query); err != nil {
		return
	}
	s.mu.Lock()
	s.tcp++
	s.mu.Unlock()
	if msg := s.reply(query, 65535); msg != nil {
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	}
}

func (s *server) reply(query []byte, limit int) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	s.mu.Lock()
	s.queries = append(s.queries, q)
	s.mu.Unlock()
	r := s.answer(q)
	if r.drop {
		return nil
	}
	msg := pack(h.ID, q, r, false)
	if len(msg) > limit {
		msg = pack(h.ID, q, reply{}, true)
	}
	return msg
}

func pack(id uint16, q dnsmessage.Question, r reply, truncated bool) []byte {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: id, Response: true, RecursionAvailable: true, RCode: r.code, Truncated: truncated,
		},
		Questions: []dnsmessage.Question{q},
	}
	add := func(body dnsmessage.ResourceBody) {
		header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: body})
	}
	for _, a := range r.addrs {
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			add(&dnsmessage.AResource{A: a.As4()})
		case !a.Is4() && q.Type == dnsmessage.TypeAAAA:
			add(&dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	for _, rec := range r.srv {
		if q.Type == dnsmessage.TypeSRV {
			add(&rec)
		}
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

func (s *server) queryCounts() (all, tcp int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queries), s.tcp
}
