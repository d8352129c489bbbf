package h1conn

import (
	"net"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/internal/h2conn"
)

// spy records the calls of the observer.
type spy struct {
	mu      sync.Mutex // guards what follows, for tests with timers
	calls   []string
	use     h2conn.Use
	stirred int
	how     h2conn.How
	closed  bool
}

func (s *spy) OnUse(u h2conn.Use) { s.note("use"); s.use = u }
func (s *spy) OnGoAway(bool)      { s.note("announced") }
func (s *spy) OnStreams()         { s.stirred++ }

func (s *spy) OnClose(h h2conn.How) {
	s.note("closed")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.how = true, h
}

func (s *spy) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

func (s *spy) ended() (closed bool, how h2conn.How) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed, s.how
}

// pipe is a connection that only counts its closes.
type pipe struct {
	net.Conn

	closed int
}

func (p *pipe) Close() error       { p.closed++; return nil }
func (*pipe) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// model is what a Conn must be.
type model struct {
	c   *Conn
	nc  *pipe
	obs *spy

	requests                         int
	open, drained, announced, closed bool
	resting                          bool
	wantStirred                      int
	wantUse                          h2conn.Use
}

// A Conn behaves as a few plain rules say, in whatever order it is called.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{nc: &pipe{}, obs: &spy{}}
		m.c = New(m.nc, m.obs)
		t.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"request": m.request,
			"end":     m.end,
			"drain":   m.drain,
			"rest":    m.rest,
			"gone":    func(*rapid.T) { m.c.Gone() },
			"close":   m.close,
		})
	})
}

func (m *model) request(t *rapid.T) {
	if m.open || m.closed || m.announced {
		t.Skip("one at a time, and none after the last")
	}
	m.stir()
	m.open = true
	m.requests++
	m.c.Begin()
	use := rapid.SampledFrom([]h2conn.Use{h2conn.Ready, h2conn.Probed, h2conn.InUse}).Draw(t, "use")
	m.wantUse = max(m.wantUse, use)
	m.c.Used(use)
	if last := m.c.Last(); last != m.drained {
		t.Fatalf("Last is %v on a connection that drains: %v", last, m.drained)
	}
	m.announced = m.drained
}

func (m *model) end(t *rapid.T) {
	if !m.open || m.closed || m.announced {
		t.Skip("no answer that keeps the connection")
	}
	m.stir()
	m.open = false
	m.c.End()
}

func (m *model) drain(t *rapid.T) {
	could := !m.drained && !m.closed
	if flush := m.c.Drain("", 0); (flush != nil) != could {
		t.Fatalf("Drain did something: %v, want %v", flush != nil, could)
	}
	m.drained = m.drained || could
}

func (m *model) rest(t *rapid.T) {
	open, opened := m.c.Streams()
	if m.c.Rest(open, opened) == m.closed {
		t.Fatalf("Rest with the present streams returned %v on a connection that is closed: %v", !m.closed, m.closed)
	}
	m.resting = !m.closed
}

func (m *model) close(t *rapid.T) {
	first := !m.closed
	m.closed = true
	_ = m.c.Close()
	if want := m.how(); first && m.obs.how != want {
		t.Fatalf("the connection ended %v, want %v", m.obs.how, want)
	}
}

func (m *model) how() h2conn.How {
	switch {
	case m.announced, m.drained && !m.open:
		return h2conn.Clean
	case m.c.gone, m.open:
		return h2conn.ByClient
	}
	return h2conn.ByServer
}

// stir notes that something happens that a resting connection reports once.
func (m *model) stir() {
	if m.resting {
		m.wantStirred++
	}
	m.resting = false
}

func (m *model) check(t *rapid.T) {
	open, opened := m.c.Streams()
	if wantOpen := m.open && !m.closed; (open == 1) != wantOpen || opened != uint64(m.requests) {
		t.Fatalf("got %d of %d requests open, want %v of %d", open, opened, wantOpen, m.requests)
	}
	if m.obs.use != m.wantUse || m.obs.stirred != m.wantStirred || m.obs.closed != m.closed {
		t.Fatalf("the observer knows %v, %d, closed %v; want %v, %d, %v", m.obs.use, m.obs.stirred, m.obs.closed, m.wantUse, m.wantStirred, m.closed)
	}
	counts := map[string]int{}
	for i, call := range m.obs.calls {
		counts[call]++
		if call == "closed" && i != len(m.obs.calls)-1 {
			t.Fatalf("a call follows OnClose: %v", m.obs.calls)
		}
	}
	if announced := counts["announced"] == 1; counts["announced"] > 1 || announced != m.announced || counts["closed"] > 1 {
		t.Fatalf("got calls %v, want announced: %v", m.obs.calls, m.announced)
	}
	select {
	case <-m.c.Draining():
		if !m.drained && !m.closed {
			t.Fatal("the channel of Draining is closed too early")
		}
	default:
		if m.drained || m.closed {
			t.Fatal("the channel of Draining is still open")
		}
	}
}
