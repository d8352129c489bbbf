package serveropts_test

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/serveropts"
)

// grpc-go drops some connections that it cannot use, without closing what the credentials
// returned. They must not count forever, nor be drained before those of clients.
func TestConnectionsThatGRPCDrops(t *testing.T) {
	for name, tc := range map[string]struct {
		accepted func(net.Conn) net.Conn
		creds    func(credentials.TransportCredentials) credentials.TransportCredentials
		opts     []grpc.ServerOption
	}{
		"refused by credentials around ours": {
			creds: func(c credentials.TransportCredentials) credentials.TransportCredentials { return &guest{c} },
		},
		"the second write fails": {
			accepted: func(nc net.Conn) net.Conn { return &secondWriteFails{Conn: nc} },
			opts:     []grpc.ServerOption{grpc.WriteBufferSize(0), grpc.InitialConnWindowSize(1 << 20)},
		},
		"the client says nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			bal := balancer(t)
			creds := serveropts.TransportCredentials(bal, insecure.NewCredentials())
			if tc.creds != nil {
				creds = tc.creds(creds)
			}
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := grpc.NewServer(append(tc.opts, grpc.Creds(creds))...)
			done := make(chan struct{})
			go func() { defer close(done); srv.Serve(&accepting{lis, tc.accepted}) }()
			for range 20 {
				nc, err := net.Dial("tcp", lis.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				_ = nc.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, nc) // until the server closes
				_ = nc.Close()
			}
			if n := bal.DrainAll(t.Context()); n != 0 {
				t.Errorf("%d connections without a client were drained", n)
			}
			srv.Stop()
			<-done
			if s := bal.Status(); s.Connections != 0 || s.Opened != 0 || s.Keys != 0 {
				t.Errorf("%d connections, %d ever, of %d clients, though no client has spoken", s.Connections, s.Opened, s.Keys)
			}
		})
	}
}

// guest are credentials that refuse after the handshake of those below.
type guest struct {
	credentials.TransportCredentials
}

func (g *guest) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, _, err := g.TransportCredentials.ServerHandshake(raw); err != nil {
		return nil, nil, err
	}
	return nil, nil, errors.New("the client is not on the list")
}

// secondWriteFails is a connection whose client resets it between two writes.
type secondWriteFails struct {
	net.Conn

	writes atomic.Int32
}

func (s *secondWriteFails) Write(p []byte) (int, error) {
	if s.writes.Add(1) == 2 {
		return 0, syscall.ECONNRESET
	}
	return s.Conn.Write(p)
}

// accepting is a listener that wraps the connections it accepts.
type accepting struct {
	net.Listener

	wrap func(net.Conn) net.Conn
}

func (a *accepting) Accept() (net.Conn, error) {
	nc, err := a.Listener.Accept()
	if err == nil && a.wrap != nil {
		nc = a.wrap(nc)
	}
	return nc, err
}
