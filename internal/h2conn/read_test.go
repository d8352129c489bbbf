package h2conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
)

// countingPool counts the buffers in use.
type countingPool struct{ used atomic.Int64 }

func (p *countingPool) Get(n int) *[]byte {
	p.used.Add(1)
	b := make([]byte, n)
	return &b
}

func (p *countingPool) Put(*[]byte) { p.used.Add(-1) }

// socketPair returns both ends of a connection through a listener.
func socketPair(t *testing.T, network, addr string) (srv, cli net.Conn) {
	t.Helper()
	lis, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	if cli, err = net.Dial(network, lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if srv, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = srv.Close(), cli.Close() })
	return srv, cli
}

// ends returns a connection of each kind, the server's end first.
func ends(t *testing.T) map[string][2]net.Conn {
	tcpSrv, tcpCli := socketPair(t, "tcp", "127.0.0.1:0")
	unixSrv, unixCli := socketPair(t, "unix", t.TempDir()+"/s")
	rawSrv, rawCli := socketPair(t, "tcp", "127.0.0.1:0")
	srvCfg, cliCfg, _, _ := certificates(t)
	cliCfg.NextProtos = []string{"h2"}
	tlsCli := tls.Client(rawCli, cliCfg)
	shaken := make(chan error, 1)
	go func() { shaken <- tlsCli.HandshakeContext(context.Background()) }()
	tlsSrv, _, err := credentials.NewTLS(srvCfg).ServerHandshake(rawSrv)
	if err = errors.Join(err, <-shaken); err != nil {
		t.Fatal(err)
	}
	pipeSrv, pipeCli := net.Pipe()
	return map[string][2]net.Conn{
		"tcp": {tcpSrv, tcpCli}, "unix": {unixSrv, unixCli}, "tls": {tlsSrv, tlsCli}, "pipe": {pipeSrv, pipeCli},
	}
}

// ReadOnReady reads a whole conversation, and leaves no buffer in use at its end.
func TestReadOnReady(t *testing.T) {
	w := newWire()
	w.WriteString(http2.ClientPreface)
	_ = w.WriteSettings()
	w.headers(1, true, false)
	_ = w.WriteData(1, true, bytes.Repeat([]byte("x"), 5000))
	_ = w.WriteSettingsAck()
	sent := w.take()
	for name, pair := range ends(t) {
		for _, size := range []int{32 << 10, 100, 4, 1} {
			if size != 32<<10 && name != "pipe" {
				continue // the other connections are used up
			}
			srv, cli := pair[0], pair[1]
			if name == "pipe" {
				srv, cli = net.Pipe()
			}
			t.Run(name, func(t *testing.T) {
				c := New(srv, nil, nil)
				pool := &countingPool{}
				go func() {
					_, _ = cli.Write(sent)
					_ = cli.Close()
				}()
				if got := readAll(t, c, size, pool); !bytes.Equal(got, sent) {
					t.Errorf("read %d bytes, want %d", len(got), len(sent))
				}
				if open, opened := c.Streams(); open != 1 || opened != 1 || c.Lost() != nil {
					t.Errorf("%d streams open, %d ever opened, lost: %v; want 1, 1, not lost", open, opened, c.Lost())
				}
				if n := pool.used.Load(); n != 0 {
					t.Errorf("%d buffers in use, want 0", n)
				}
				_ = c.Close()
			})
		}
	}
}

func readAll(t *testing.T, c *Conn, size int, pool *countingPool) (got []byte) {
	t.Helper()
	for {
		buf, n, err := c.ReadOnReady(size, pool)
		if buf != nil {
			got = append(got, (*buf)[:n]...)
			pool.Put(buf)
		}
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A frame whose payload has arrived takes one call, since each call takes a buffer from
// the pool. An error behind the header is returned with the header.
func TestHeaderAndPayloadTogether(t *testing.T) {
	srv, cli := net.Pipe()
	c := New(srv, nil, nil)
	w := newWire()
	w.WriteString(http2.ClientPreface)
	preface := w.take()
	_ = w.WriteSettingsAck() // has no payload to wait for
	ack := w.take()
	w.headers(1, true, true)
	headers := w.take()
	go func() {
		for _, b := range [][]byte{preface, ack, headers, headers[:frameHeaderLen]} {
			_, _ = cli.Write(b)
		}
		_ = cli.Close()
	}()
	pool := &countingPool{}
	read := func() (int, error) {
		buf, n, err := c.ReadOnReady(1000, pool)
		if buf != nil {
			pool.Put(buf)
		}
		return n, err
	}
	for got := 0; got < len(preface); {
		n, _ := read()
		got += n
	}
	for _, want := range []int{len(ack), len(headers)} {
		if n, err := read(); n != want || err != nil {
			t.Errorf("read %d bytes, %v, want %d, nil", n, err, want)
		}
	}
	if n, err := read(); n != frameHeaderLen || err != io.EOF {
		t.Errorf("read %d bytes, %v, want %d, io.EOF", n, err, frameHeaderLen)
	}
	if open, _ := c.Streams(); open != 1 {
		t.Errorf("%d streams open, want 1", open)
	}
	_ = c.Close()
}

// A reader that waits between frames has no buffer. In virtual time the test knows that
// it waits.
func TestIdleHoldsNoBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, cli := net.Pipe()
		c := New(srv, nil, nil)
		pool := &countingPool{}
		done := make(chan []byte)
		go func() { done <- readAll(t, c, 1000, pool) }()
		w := newWire()
		w.WriteString(http2.ClientPreface)
		_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		w.headers(1, true, true)
		_, _ = cli.Write(w.take())
		synctest.Wait()
		if n := pool.used.Load(); n != 0 {
			t.Errorf("%d buffers in use while the connection is idle, want 0", n)
		}
		_ = cli.Close()
		<-done
		_ = c.Close()
	})
}

// The same holds for sockets, but the test cannot see them wait. So it waits until the
// reader has found nothing to read and put its buffer back. Only then does the client
// write.
func TestIdleSocketHoldsNoBuffer(t *testing.T) {
	for _, name := range []string{"tcp", "unix"} {
		pair := ends(t)[name]
		c := New(pair[0], nil, nil)
		pool := &signallingPool{back: make(chan struct{}, 8)}
		read := make(chan error)
		go func() {
			buf, _, err := c.ReadOnReady(1000, pool)
			if buf == nil {
				err = errors.Join(err, errors.New("no buffer"))
			}
			read <- err
		}()
		<-pool.back
		if n := pool.used.Load(); n != 0 {
			t.Errorf("%s: %d buffers in use while the connection is idle, want 0", name, n)
		}
		_, _ = pair[1].Write([]byte("PRI"))
		if err := <-read; err != nil {
			t.Error(err)
		}
	}
}

// signallingPool signals each buffer that is put back.
type signallingPool struct {
	countingPool
	back chan struct{}
}

func (p *signallingPool) Put(b *[]byte) {
	p.countingPool.Put(b)
	p.back <- struct{}{}
}

// Close unblocks a waiting reader, as grpc-go needs.
func TestCloseUnblocksReader(t *testing.T) {
	for name, pair := range ends(t) {
		c := New(pair[0], nil, nil)
		pool := &countingPool{}
		read := make(chan error)
		go func() {
			_, _, err := c.ReadOnReady(1000, pool)
			read <- err
		}()
		_ = c.Close()
		if err := <-read; err == nil {
			t.Errorf("%s: the read that Close ended returned no error", name)
		}
		if _, _, err := c.ReadOnReady(1000, pool); err == nil || pool.used.Load() != 0 {
			t.Errorf("%s: error %v after Close, %d buffers in use; want an error, 0", name, err, pool.used.Load())
		}
	}
}

// readyConn is a connection that has a ReadOnReady of its own.
type readyConn struct {
	memConn
	sizes []int
}

func (r *readyConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	r.sizes = append(r.sizes, size)
	buf := pool.Get(size)
	return buf, copy(*buf, http2.ClientPreface), nil
}

func TestReadOnReadyDelegates(t *testing.T) {
	nc := &readyConn{}
	c := New(nc, nil, nil)
	buf, n, err := c.ReadOnReady(100, &countingPool{})
	if err != nil || string((*buf)[:n]) != http2.ClientPreface || len(nc.sizes) != 1 || c.in.preface != 24 {
		t.Errorf("read %d bytes, %v; sizes requested below: %v", n, err, nc.sizes)
	}
}

// Reading from a socket allocates nothing but buffers of the pool.
func TestReadsAllocateNothing(t *testing.T) {
	srv, cli := socketPair(t, "tcp", "127.0.0.1:0")
	c := New(srv, nil, nil)
	pool := mem.DefaultBufferPool()
	frame := []byte(http2.ClientPreface)
	settings := []byte{0, 0, 0, byte(http2.FrameSettings), 0, 0, 0, 0, 0}
	allocs := testing.AllocsPerRun(100, func() {
		_, _ = cli.Write(frame)
		for read := 0; read < len(frame); {
			buf, n, err := c.ReadOnReady(4096, pool)
			if err != nil {
				t.Fatal(err)
			}
			read += n
			pool.Put(buf)
		}
		frame = settings
	})
	if allocs > 0 && !raceEnabled {
		t.Errorf("%v allocations per read, want 0", allocs)
	}
}

func TestRemoteAddr(t *testing.T) {
	for name, pair := range ends(t) {
		c, other := New(pair[0], nil, nil), New(pair[0], nil, nil)
		below := pair[0].RemoteAddr()
		_, pointer := below.(interface{ Network() string }).(*net.TCPAddr)
		switch {
		case c.RemoteAddr() != c.RemoteAddr():
			t.Errorf("%s: the address changes between calls", name)
		case pointer && c.RemoteAddr() != below:
			t.Errorf("%s: the address is a %T, want that of the connection below", name, c.RemoteAddr())
		case name == "pipe" && c.RemoteAddr() == other.RemoteAddr():
			t.Errorf("%s: two connections have the same address", name)
		case c.RemoteAddr().String() != below.String() || c.RemoteAddr().Network() != below.Network():
			t.Errorf("%s: the address is %v, want %v", name, c.RemoteAddr(), below)
		}
	}
	a, b := UniqueAddr(nil), UniqueAddr(&struct{ memAddr }{})
	if a == UniqueAddr(nil) || b == UniqueAddr(&struct{ memAddr }{}) || a.String() == "" {
		t.Error("addresses without content are not unique, or have no text")
	}
}

func TestSyscallConn(t *testing.T) {
	for name, pair := range ends(t) {
		_, err := New(pair[0], nil, nil).SyscallConn()
		if has := err == nil; has != (name != "pipe") {
			t.Errorf("%s: SyscallConn returned error %v", name, err)
		}
	}
}

// TestIdleBytes limits the memory of an idle connection. The registry may use the rest
// of 512 B.
func TestIdleBytes(t *testing.T) {
	srv, _ := socketPair(t, "tcp", "127.0.0.1:0")
	got := idleBytes(t, 2000, srv)
	for range 4 { // other goroutines allocate, too, so the least counts
		got = min(got, idleBytes(t, 2000, srv))
	}
	t.Logf("%.0f B per idle connection", got)
	if got > 365 && !raceEnabled {
		t.Errorf("%.0f B per idle connection, want at most 365", got)
	}
}
