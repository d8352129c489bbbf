package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// wantStreams checks which requests have reached the upstream.
func wantStreams(t *testing.T, upstream *peer, want ...uint32) {
	t.Helper()
	got, _ := upstream.has()
	got = bytes.TrimPrefix(got, []byte(http2.ClientPreface))
	fr := http2.NewFramer(nil, bytes.NewReader(got))
	var ids []uint32
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			break
		}
		if h, ok := f.(*http2.HeadersFrame); ok {
			ids = append(ids, h.StreamID)
		}
	}
	if len(ids) != len(want) {
		t.Fatalf("the upstream got the streams %v, want %v", ids, want)
	}
	for i := range ids {
		if ids[i] != want[i] {
			t.Fatalf("the upstream got the streams %v, want %v", ids, want)
		}
	}
}

// goAways returns the last stream IDs of the GOAWAYs that a client has got.
func goAways(client *peer) (ids []uint32) {
	got, _ := client.has()
	fr := http2.NewFramer(nil, bytes.NewReader(got))
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return ids
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			ids = append(ids, g.LastStreamID)
		}
	}
}

// A client that never closes a drained connection, such as netty's, is sent a last word. What
// it sends then does not reach the upstream, which sees an orderly end.
func TestDrainOfAClientThatNeverCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		client, upstream := r.talk()
		r.bal.DrainAll(t.Context())
		if ids := goAways(client); len(ids) != 1 || ids[0] != 1<<31-1 {
			t.Fatalf("the client got GOAWAYs with %v, want one with 2^31-1", ids)
		}
		time.Sleep(time.Hour)
		upstream.send(headers(1))
		time.Sleep(1500 * time.Millisecond) // the linger
		if ids := goAways(client); len(ids) != 2 || ids[1] != 1 {
			t.Fatalf("the client got GOAWAYs with %v, want a second one with 1", ids)
		}
		client.send(headers(3))
		wantStreams(t, upstream, 1)
		if _, eof := upstream.has(); eof {
			t.Error("the upstream connection has ended before the client has closed its own")
		}
		_ = client.CloseWrite()
		if _, eof := upstream.has(); !eof {
			t.Error("the upstream has not seen the end of the client")
		}
		_ = upstream.Close()
		r.wantConns(0)
		if st := r.bal.Status(); st.Closed["clean"] != 1 || st.GoAways["manual"] != 1 {
			t.Errorf("closed %v, GOAWAYs %v, want one clean and one manual", st.Closed, st.GoAways)
		}
	})
}

// If that client does not even close after the half-close, evenkeel closes the connection after
// 5 s, and the upstream's with it.
func TestDrainOfAClientThatIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, upstream := r.talk()
		r.bal.DrainAll(t.Context())
		upstream.send(headers(1))
		time.Sleep(6500 * time.Millisecond)
		if _, eof := upstream.has(); !eof {
			t.Error("the upstream connection goes on")
		}
		r.wantConns(0)
	})
}

// The grace ends a stalled connection, too: one whose upstream takes nothing and sends nothing.
func TestGraceEndsAStalledUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "rebalance.grace=1m")
		near, far := pipes()
		r.dial = func() (net.Conn, error) { return near, nil }
		outside, in := pipes()
		r.proxy.accepted(in)
		synctest.Wait()
		client := newPeer(t, outside)
		client.acks = true
		go func() { _, _ = client.Write(append(preface(), headers(1)...)) }()
		buf := make([]byte, len(preface()))
		_, _ = io.ReadFull(far, buf) // the request is left
		_, _ = far.Write(settings())
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if n := r.bal.DrainAll(t.Context()); n != 1 {
			t.Fatalf("%d connections were drained, want 1", n)
		}
		time.Sleep(61 * time.Second)
		r.wantConns(0)
		if st := r.bal.Status(); st.Closed["forced"] != 1 {
			t.Errorf("closed %v, want one forced", st.Closed)
		}
		_, _ = client.Close(), far.Close()
	})
}

// A GOAWAY of the upstream itself passes, and evenkeel sends none after it.
func TestUpstreamDrainsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		client, upstream := r.talk()
		upstream.send(frames(func(f *http2.Framer) { _ = f.WriteGoAway(1, http2.ErrCodeNo, nil) }))
		r.bal.DrainAll(t.Context())
		time.Sleep(2 * time.Second)
		upstream.send(headers(1))
		if ids := goAways(client); len(ids) != 1 || ids[0] != 1 {
			t.Errorf("the client got GOAWAYs with %v, want the upstream's alone", ids)
		}
		_ = upstream.CloseWrite()
		if _, eof := client.has(); !eof {
			t.Error("the client has not seen the end of the upstream")
		}
		_ = client.Close()
		r.wantConns(0)
		if st := r.bal.Status(); st.Closed["server"] != 1 || st.GoAways["server"] != 1 {
			t.Errorf("closed %v, GOAWAYs %v, want one each by the server", st.Closed, st.GoAways)
		}
	})
}

// Bytes that are no HTTP/2 pass unchanged. They are counted, and never drained.
func TestOtherProtocols(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		client, upstream := r.connect()
		client.send([]byte("GET / HTTP/1.1\r\nHost: pod\r\n\r\n"))
		upstream.send([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		time.Sleep(2 * time.Second)
		if n := r.bal.DrainAll(t.Context()); n != 0 {
			t.Errorf("%d connections were drained, want none", n)
		}
		time.Sleep(time.Hour)
		if all, other := r.proxy.count(); all != 1 || other != 1 {
			t.Errorf("%d connections, %d of them without HTTP/2; want one", all, other)
		}
		client.send([]byte("GET /again HTTP/1.1\r\nHost: pod\r\n\r\n"))
		if got, _ := upstream.has(); !bytes.HasSuffix(got, []byte("GET /again HTTP/1.1\r\nHost: pod\r\n\r\n")) {
			t.Errorf("the upstream got %q", got)
		}
		if got, _ := client.has(); string(got) != "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" {
			t.Errorf("the client got %q", got)
		}
	})
}

// A client whose upstream is away is refused, and the next one is served.
func TestUpstreamAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.dial = func() (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }
		outside, in := pipes()
		r.proxy.accepted(in)
		if got, eof := newPeer(t, outside).has(); !eof || len(got) > 0 {
			t.Errorf("the client got %q, end %v; want the end alone", got, eof)
		}
		if err := r.proxy.up.Err(); err == nil || err.Error() != "cannot reach 127.0.0.1:1: connection refused" {
			t.Errorf("the upstream is away because of %v", err)
		}
		if n := r.proxy.up.refused(); n != 1 {
			t.Errorf("%d clients were refused, want 1", n)
		}
		r.talk()
		if err := r.proxy.up.Err(); err != nil {
			t.Errorf("the upstream is away although it was reached: %v", err)
		}
	})
}

// Shutdown drains clients, those that come late too, and ends once they have ended. Connections
// on which nobody speaks, and those without HTTP/2, are closed at its end.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		client, upstream := r.talk()
		silent, _ := r.connect()
		time.Sleep(5 * time.Second)
		done := make(chan error, 1)
		go func() { done <- r.bal.Shutdown(t.Context(), r.proxy) }()
		time.Sleep(5 * time.Second)
		if ids := goAways(client); len(ids) != 1 {
			t.Fatalf("the client got GOAWAYs with %v, want one", ids)
		}
		if _, eof := silent.has(); !eof {
			t.Error("the connection on which nobody has spoken is open")
		}
		upstream.send(headers(1))
		_ = client.CloseWrite()
		_, _ = upstream.has()
		_ = upstream.Close()
		if err := <-done; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		r.wantConns(0)
		late, in := pipes()
		r.proxy.accepted(in)
		if _, eof := newPeer(t, late).has(); !eof {
			t.Error("a client was accepted after Shutdown")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "shutdown.timeout=20s")
		r.talk()
		other, _ := r.connect()
		other.send([]byte("GET / HTTP/1.1\r\n"))
		begun := time.Now()
		if err := r.bal.Shutdown(t.Context(), r.proxy); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v, want that it is late", err)
		}
		if took := time.Since(begun); took != 20*time.Second {
			t.Errorf("Shutdown took %v, want 20 s", took)
		}
		r.wantConns(0)
	})
}

// A whole conversation, cut at every byte of each direction, arrives as it was sent.
func TestCutAtEveryByte(t *testing.T) {
	request := append(preface(), headers(1)...)
	request = append(request, frames(func(f *http2.Framer) {
		_ = f.WriteWindowUpdate(0, 100)
		_ = f.WritePing(false, [8]byte{1})
	})...)
	request = append(request, headers(3)...)
	answer := append(settings(), frames(func(f *http2.Framer) {
		_ = f.WriteSettingsAck()
		_ = f.WriteData(1, false, []byte("some data"))
	})...)
	answer = append(answer, headers(1)...)
	answer = append(answer, headers(3)...)
	for cut := range max(len(request), len(answer)) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			client, upstream := r.connect()
			exchange(client, request, cut)
			exchange(upstream, answer, cut)
			wantSame(t, upstream, request)
			wantSame(t, client, answer)
		})
	}
}

func exchange(from *peer, b []byte, cut int) {
	cut = min(cut, len(b))
	for _, part := range [][]byte{b[:cut], b[cut:]} {
		if len(part) > 0 {
			from.send(part)
		}
	}
}

func wantSame(t *testing.T, to *peer, sent []byte) {
	t.Helper()
	if got, _ := to.has(); !bytes.Equal(got, sent) {
		t.Fatalf("got\n%q\nwant\n%q", got, sent)
	}
}

// Whatever bytes both sides send, and however they are cut, they arrive as they were sent.
func FuzzBytesPass(f *testing.F) {
	f.Add(append(preface(), headers(1)...), append(settings(), headers(1)...), uint16(7))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\n"), uint16(3))
	f.Add([]byte(http2.ClientPreface), []byte{0, 0, 0, 4, 0, 0, 0, 0, 0, 1}, uint16(1))
	f.Fuzz(func(t *testing.T, request, answer []byte, step uint16) {
		if bytes.Contains(request, []byte("even")) {
			t.Skip("that may be the acknowledgement of a PING of evenkeel's")
		}
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			client, upstream := r.connect()
			size := int(step)%50 + 1
			for i := 0; i < max(len(request), len(answer)); i += size {
				if part := request[min(i, len(request)):min(i+size, len(request))]; len(part) > 0 {
					client.send(part)
				}
				if part := answer[min(i, len(answer)):min(i+size, len(answer))]; len(part) > 0 {
					upstream.send(part)
				}
			}
			wantSame(t, upstream, request)
			wantSame(t, client, answer)
		})
	})
}

// The upstream knows nothing of evenkeel's PINGs, so it must not get their acknowledgements: node
// destroys a session with one that it has not asked for. Those of its own PINGs do pass.
func TestUpstreamGetsNoForeignAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		client, upstream := r.talk()
		upstream.send(frames(func(f *http2.Framer) { _ = f.WritePing(false, [8]byte([]byte("upstream"))) }))
		r.bal.DrainAll(t.Context())
		upstream.send(headers(1))
		time.Sleep(3 * time.Second)
		got, _ := upstream.has()
		want := append(preface(), headers(1)...)
		want = append(want, frames(func(f *http2.Framer) { _ = f.WritePing(true, [8]byte([]byte("upstream"))) })...)
		if !bytes.Equal(got, want) {
			t.Errorf("the upstream got\n%q\nwant\n%q", got, want)
		}
		if ids := goAways(client); len(ids) != 2 {
			t.Errorf("the client got GOAWAYs with %v, want the first and the last word", ids)
		}
	})
}

// A client that begins to speak after all others were drained is drained, too.
func TestShutdownDrainsLateClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "rebalance.spread=1s")
		_, first := r.talk()
		done := make(chan error, 1)
		go func() { done <- r.bal.Shutdown(t.Context(), r.proxy) }()
		client, upstream := r.connect()
		client.acks = true
		for !r.proxy.stopped() {
			time.Sleep(10 * time.Millisecond)
		}
		client.send(preface())
		upstream.send(settings())
		client.send(headers(1))
		time.Sleep(time.Second)
		if ids := goAways(client); len(ids) != 1 {
			t.Errorf("the late client got GOAWAYs with %v, want one", ids)
		}
		first.send(headers(1))
		upstream.send(headers(1))
		if err := <-done; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
	})
}

// Of a server that uses evenkeel itself, too, clients acknowledge the PINGs to that server.
func TestUpstreamThatUsesEvenkeel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, upstream := r.talk()
		upstream.send(frames(func(f *http2.Framer) {
			_ = f.WriteGoAway(1<<31-1, http2.ErrCodeNo, []byte("evenkeel: 2 new pods"))
			_ = f.WritePing(false, [8]byte([]byte("evenkeel")))
		}))
		want := frames(func(f *http2.Framer) { _ = f.WritePing(true, [8]byte([]byte("evenkeel"))) })
		if got, _ := upstream.has(); !bytes.HasSuffix(got, want) {
			t.Errorf("the upstream got no acknowledgement of its PING: %q", got)
		}
		if !r.proxy.twice.Load() {
			t.Error("it was not noticed that the upstream uses evenkeel")
		}
	})
}
