package pass

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever both sides send, end and in which order, the other side gets just that.
func TestNothingIsAltered(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 40).Draw(rt, "steps")
		sizes := rapid.SliceOfN(rapid.IntRange(1, 3*bufferSize), len(steps), len(steps)).Draw(rt, "sizes")
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			one := model{from: r.client, to: r.upstream}
			two := model{from: r.upstream, to: r.client}
			for i, step := range steps {
				side := &one
				if step%2 == 1 {
					side = &two
				}
				if step < 4 {
					side.send(t, sizes[i], byte(i))
				} else {
					side.finish()
				}
				one.compare(t)
				two.compare(t)
				if want := one.ended && two.ended; r.ended() != want {
					t.Fatalf("the link has ended: %v, want %v", !want, want)
				}
			}
		})
	})
}

// model is what one direction must do.
type model struct {
	from, to *end
	sent     []byte
	ended    bool
}

func (m *model) send(t *testing.T, n int, seed byte) {
	t.Helper()
	if m.ended {
		return
	}
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	m.sent = append(m.sent, p...)
	if _, err := m.from.Write(p); err != nil {
		t.Fatal(err)
	}
}

func (m *model) finish() {
	m.ended = true
	_ = m.from.CloseWrite()
}

func (m *model) compare(t *testing.T) {
	t.Helper()
	got, eof := m.to.has()
	if !bytes.Equal(got, m.sent) || eof != m.ended {
		t.Fatalf("got %d bytes, ended: %v; want the %d bytes sent, ended: %v", len(got), eof, len(m.sent), m.ended)
	}
}

// A side that reads nothing stops the other one after one buffer, and costs nothing more.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, clientSide := pipes()
		upstreamSide, upstream := pipes()
		done := make(chan struct{})
		New(NewSocket(clientSide), NewSocket(upstreamSide)).Start(func() { close(done) })
		sent := make(chan int)
		go func() {
			n, _ := client.Write(make([]byte, 10*bufferSize))
			sent <- n
		}()
		time.Sleep(24 * time.Hour)
		select {
		case n := <-sent:
			t.Errorf("%d bytes were taken although the upstream reads nothing", n)
		default:
		}
		got, _ := io.ReadAll(io.LimitReader(upstream, 10*bufferSize))
		if n := <-sent; n != 10*bufferSize || len(got) != n {
			t.Errorf("%d bytes were taken and %d passed on once the upstream reads, want all", n, len(got))
		}
		_ = client.Close()
		_ = upstream.Close()
		<-done
	})
}

// A stall of the upstream for an hour is no reason to end anything.
func TestStallIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, _ = r.client.Write([]byte("request"))
		time.Sleep(time.Hour)
		_, _ = r.upstream.Write([]byte("answer"))
		if got, _ := r.client.has(); string(got) != "answer" {
			t.Errorf("the client got %q, want the answer", got)
		}
	})
}

// A client that has ended its side may wait for the answer for as long as it likes. One that
// leaves its side open after the upstream has ended is waited for only while it sends.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_ = r.client.CloseWrite()
		time.Sleep(time.Hour)
		if r.ended() {
			t.Fatal("the link has ended before the upstream has answered")
		}
		_, _ = r.upstream.Write([]byte("late"))
		if got, _ := r.client.has(); string(got) != "late" {
			t.Errorf("the client got %q, want the late answer", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_ = r.upstream.CloseWrite()
		for range 5 {
			time.Sleep(finWait - time.Second)
			if r.ended() {
				t.Fatal("the link has ended while the client still sends")
			}
			_, _ = r.client.Write([]byte("more"))
		}
		if got, _ := r.upstream.has(); string(got) != "moremoremoremoremore" {
			t.Errorf("the upstream got %q, want everything", got)
		}
		time.Sleep(finWait)
		if !r.ended() {
			t.Error("the link goes on although the client has been silent for a minute after the upstream's end")
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.link.Close()
		r.link.Close()
		if !r.ended() {
			t.Error("the link goes on after Close")
		}
		if _, eof := r.client.has(); !eof {
			t.Error("the client's connection is open after Close")
		}
	})
}

// A reset of one side is a reset of the other.
func TestResets(t *testing.T) {
	for _, name := range []string{"client", "upstream"} {
		t.Run(name, func(t *testing.T) {
			client, upstream, done := overTCP(t)
			from, to := client, upstream
			if name == "upstream" {
				from, to = upstream, client
			}
			_, _ = from.Write([]byte("x"))
			if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			_ = from.SetLinger(0)
			_ = from.Close()
			if _, err := to.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other side got %v, want a reset", err)
			}
			<-done
		})
	}
}

// A reset is passed on while the other side is stalled, too.
func TestResetOfAStalledSide(t *testing.T) {
	client, upstream, done := overTCP(t)
	stalled := make(chan error, 1)
	go func() {
		_, err := client.Write(make([]byte, 64<<20)) // more than all buffers hold
		stalled <- err
	}()
	if _, err := io.ReadFull(upstream, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = upstream.SetLinger(0)
	_ = upstream.Close()
	<-done
	// Not a reset but EPIPE is what a client gets that has seen an end just before.
	if err := <-stalled; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the client got %v, want a reset", err)
	}
}

// A client that takes nothing keeps its upstream connection only until the upstream has left, and
// for a minute after that.
func TestStalledClientOfAnUpstreamThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, clientSide := pipes()
		upstreamSide, upstream := pipes()
		done := make(chan struct{})
		l := New(NewSocket(clientSide), NewSocket(upstreamSide))
		l.Start(func() { close(done) })
		go func() { _, _ = upstream.Write(make([]byte, 64<<20)) }()
		time.Sleep(finWait)
		for _, left := range []bool{false, true} { // not for longer than a minute yet
			l.CloseStalled(func() bool { return left })
		}
		time.Sleep(time.Second)
		l.CloseStalled(func() bool { return false })
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("it ended although the upstream is there")
		default:
		}
		l.CloseStalled(func() bool { return true })
		<-done
		_ = client.Close()
		_ = upstream.Close()
	})
}

// The end of a connection shows behind bytes that nobody has read.
func TestLeft(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"end":   func(nc *net.TCPConn) { _ = nc.Close() },
		"reset": func(nc *net.TCPConn) { _ = nc.SetLinger(0); _ = nc.Close() },
	} {
		here, there := tcp(t)
		if _, err := there.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		if Left(here) {
			t.Errorf("%s: it has left before", name)
		}
		end(there)
		for deadline := time.Now().Add(10 * time.Second); !Left(here); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: it has not left after", name)
			}
		}
	}
}

// closed is an upstream that has closed its connection, while its last bytes are on their way.
type closed struct{ *Socket }

func (closed) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// A server that closes the connection while its client is still sending must not lose what it
// sent last: a GOAWAY with its reason, or the last answer.
func TestLastBytesOfTheUpstreamArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, clientSide := pipes()
		upstreamSide, upstream := pipes()
		done := make(chan struct{})
		New(NewSocket(clientSide), closed{NewSocket(upstreamSide)}).Start(func() { close(done) })
		send := func() {
			if n, err := client.Write(make([]byte, 3*bufferSize)); err != nil {
				t.Fatalf("%d bytes were taken, and then %v", n, err)
			}
		}
		send()
		go func() {
			_, _ = upstream.Write([]byte("last words"))
			_ = upstream.Close()
		}()
		if got, err := io.ReadAll(client); string(got) != "last words" || err != nil {
			t.Errorf("the client got %q, %v; want all of it and the end", got, err)
		}
		send()
		_ = client.Close()
		<-done
	})
}

// Of a connection that cannot be half-closed, the end of the upstream closes both sides.
func TestWithoutHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, clientSide := net.Pipe()
		upstreamSide, upstream := pipes()
		done := make(chan struct{})
		New(NewSocket(clientSide), NewSocket(upstreamSide)).Start(func() { close(done) })
		_ = upstream.CloseWrite()
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client got %v, want the end", err)
		}
		<-done
		_ = upstream.Close()
	})
}
