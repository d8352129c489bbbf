package link

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// device is one end of a link in memory. The tests are at its other side.
type device struct {
	in     chan []byte
	closed chan struct{}
	once   sync.Once

	mu  sync.Mutex
	got []arrived
}

// arrived is a packet and how long after the start of the test it came.
type arrived struct {
	id int
	at time.Duration
}

var start time.Time

func newDevice() *device { return &device{in: make(chan []byte), closed: make(chan struct{})} }

func (d *device) Read(p []byte) (int, error) {
	select {
	case b := <-d.in:
		return copy(p, b), nil
	case <-d.closed:
		return 0, io.EOF
	}
}

func (d *device) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, arrived{int(binary.BigEndian.Uint16(p[4:])), time.Since(start)})
	return len(p), nil
}

func (d *device) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// ids returns the packets that have come, in their order.
func (d *device) ids() (ids []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.got {
		ids = append(ids, a.id)
	}
	return ids
}

func (d *device) arrivals() []arrived {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.got)
}

// inBubble runs f in virtual time with a link between two devices.
func inBubble(t *testing.T, shape Shape, f func(l *Link, a, b *device)) {
	synctest.Test(t, func(*testing.T) {
		a, b := newDevice(), newDevice()
		l := New(a, b, shape, 1)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Run(ctx)
		}()
		start = time.Now()
		f(l, a, b)
		cancel()
		<-done
	})
}

// tcp returns a TCP packet over IPv4 with an id.
func tcp(id int, from, to end, flags byte, size int) []byte {
	p := make([]byte, max(size, 40))
	p[0], p[9] = 0x45, protocolTCP
	binary.BigEndian.PutUint16(p[4:], uint16(id))
	binary.BigEndian.PutUint32(p[12:], from.host)
	binary.BigEndian.PutUint32(p[16:], to.host)
	binary.BigEndian.PutUint16(p[20:], from.port)
	binary.BigEndian.PutUint16(p[22:], to.port)
	p[33] = flags
	return p
}

var client, server = end{0xc6120201, 40000}, end{0xc6120101, 50051}

// udp returns a packet that the firewall does not look at.
func udp(id, size int) []byte {
	p := tcp(id, client, server, 0, size)
	p[9] = 17
	return p
}

func TestDelay(t *testing.T) {
	inBubble(t, Shape{Delay: 50 * time.Millisecond}, func(l *Link, a, b *device) {
		for i := range 100 {
			a.in <- udp(i, 100)
		}
		b.in <- udp(7, 100)
		time.Sleep(50*time.Millisecond - 1)
		synctest.Wait()
		if got := len(a.ids()) + len(b.ids()); got != 0 {
			t.Errorf("got %d packets before their time", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := b.ids(); len(got) != 100 || !slices.IsSorted(got) {
			t.Errorf("got %v, want 100 packets in their order", got)
		}
		if got := a.ids(); !slices.Equal(got, []int{7}) {
			t.Errorf("got %v on the way back, want packet 7", got)
		}
	})
}

func TestJitterReorders(t *testing.T) {
	inBubble(t, Shape{Delay: 100 * time.Millisecond, Jitter: 30 * time.Millisecond}, func(_ *Link, a, b *device) {
		for i := range 1000 {
			a.in <- udp(i, 100)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		got := b.arrivals()
		if first, last := got[0].at, got[len(got)-1].at; len(got) != 1000 || first < 70*time.Millisecond || first > 75*time.Millisecond || last > 130*time.Millisecond || last < 125*time.Millisecond {
			t.Errorf("%d packets came from %v to %v, want 1000 from 70 ms to 130 ms", len(got), first, last)
		}
		if slices.IsSorted(b.ids()) {
			t.Error("no packet overtook another")
		}
	})
}

func TestLossAndDuplicates(t *testing.T) {
	inBubble(t, Shape{Loss: 0.1, Duplicate: 0.2}, func(l *Link, a, b *device) {
		const n = 10_000
		for i := range n {
			a.in <- udp(i, 100)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		s := l.Stats()
		if s.Lost < n*8/100 || s.Lost > n*12/100 || s.Duplicated < n*16/100 || s.Duplicated > n*20/100 {
			t.Errorf("got %+v of %d packets, want 10 %% lost and 20 %% of the others twice", s, n)
		}
		if got := len(b.ids()); got != n-s.Lost+s.Duplicated || got != s.Passed {
			t.Errorf("%d packets came, want those of %+v", got, s)
		}
	})
}

// A packet of 1,250 bytes takes 10 ms at 1 Mbit/s. The queue holds 5 of them behind the one that is
// being sent.
func TestRateAndQueue(t *testing.T) {
	inBubble(t, Shape{Rate: 1_000_000, Queue: 5 * 1250}, func(l *Link, a, b *device) {
		for i := range 10 {
			a.in <- udp(i, 1250)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		var want []arrived
		for i := range 6 {
			want = append(want, arrived{i, time.Duration(i+1) * 10 * time.Millisecond})
		}
		if got := b.arrivals(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if s := l.Stats(); s.Overflowed != 4 || s.Waited != 9 {
			t.Errorf("got %+v, want 9 packets that met others in the queue, and 4 that found it full", s)
		}
		a.in <- udp(99, 1250)
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if got := b.arrivals(); got[len(got)-1].at != time.Second+10*time.Millisecond {
			t.Errorf("after a pause a packet came at %v, want 10 ms later", got[len(got)-1].at)
		}
	})
}

// A forgotten connection is blocked in both directions, until it begins again. Others are not.
func TestForget(t *testing.T) {
	inBubble(t, Shape{}, func(l *Link, a, b *device) {
		other := end{client.host, 40001}
		a.in <- tcp(1, client, server, flagSYN, 40)
		b.in <- tcp(2, server, client, flagSYN|flagACK, 40)
		a.in <- tcp(3, client, server, flagACK, 40)
		a.in <- tcp(4, other, server, flagACK, 40) // never began
		synctest.Wait()
		l.Forget()
		a.in <- tcp(5, client, server, flagACK, 40)
		b.in <- tcp(6, server, client, flagACK, 40)
		b.in <- tcp(7, server, client, flagSYN|flagACK, 40) // no beginning
		a.in <- udp(8, 40)
		a.in <- tcp(9, other, server, flagSYN, 40)
		a.in <- tcp(10, other, server, flagACK, 40)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := b.ids(); !slices.Equal(got, []int{1, 3, 8, 9, 10}) {
			t.Errorf("packets %v passed, want 1, 3, 8, 9, 10", got)
		}
		if got := a.ids(); !slices.Equal(got, []int{2}) {
			t.Errorf("packets %v passed on the way back, want 2", got)
		}
	})
}

func TestCut(t *testing.T) {
	inBubble(t, Shape{}, func(l *Link, a, b *device) {
		l.Cut(true)
		a.in <- udp(1, 40)
		synctest.Wait()
		l.Cut(false)
		a.in <- udp(2, 40)
		synctest.Wait()
		l.Set(Shape{Loss: 1})
		a.in <- udp(3, 40)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := b.ids(); !slices.Equal(got, []int{2}) {
			t.Errorf("packets %v passed, want 2", got)
		}
		if got, want := l.Stats(), (Stats{Passed: 1, Lost: 1, Blocked: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// Packets that are no TCP over IPv4, or too short to be, pass the firewall.
func TestParse(t *testing.T) {
	v6 := tcp(1, client, server, flagACK, 60)
	v6[0] = 0x60
	for name, p := range map[string][]byte{
		"IPv6": v6, "UDP": udp(1, 40), "empty": {}, "short": tcp(1, client, server, flagACK, 40)[:30],
	} {
		if _, _, ok := parse(p); ok {
			t.Errorf("%s: parsed as TCP over IPv4", name)
		}
	}
	there, _, _ := parse(tcp(1, client, server, flagACK, 40))
	back, _, _ := parse(tcp(1, server, client, flagACK, 40))
	if there != back || there == (flow{}) {
		t.Errorf("got flows %v and %v, want one for both directions", there, back)
	}
}
