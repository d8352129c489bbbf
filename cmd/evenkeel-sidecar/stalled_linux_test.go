package main

import (
	"context"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// leftSocket is an upstream in memory. Its descriptor is that of a socket whose other end has
// left.
type leftSocket struct {
	duplex

	socket *net.TCPConn
}

func (s leftSocket) SyscallConn() (syscall.RawConn, error) { return s.socket.SyscallConn() }

func (s leftSocket) Close() error {
	_ = s.socket.Close()
	return s.duplex.Close()
}

// socketThatLeft returns a socket whose other end is closed.
func socketThatLeft(t *testing.T) *net.TCPConn {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	here, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	there, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = there.(*net.TCPConn).SetLinger(0)
	_ = there.Close()
	return here.(*net.TCPConn)
}

// A client that takes nothing more from an upstream that has left is ended by the app.
func TestStalledClientsAreEnded(t *testing.T) {
	socket := socketThatLeft(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		near, far := pipes()
		r.dial = func() (net.Conn, error) { return leftSocket{near, socket}, nil }
		client, in := pipes()
		r.proxy.accepted(in)
		go func() { _, _ = client.Write(preface()) }()
		upstream := newPeer(t, far)
		go func() { _, _ = upstream.Write(settings()) }() // the client never reads it
		ctx, cancel := context.WithCancel(t.Context())
		watched := make(chan error, 1)
		go func() { watched <- (&app{bal: r.bal, proxy: r.proxy}).watchOthers(ctx) }()
		time.Sleep(30 * time.Second)
		r.wantConns(1)
		time.Sleep(time.Minute)
		r.wantConns(0)
		cancel()
		<-watched
		_, _ = client.Close(), upstream.Close()
	})
}
