package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// oneConn is a listener for the conns that a test puts into it. bufconn would not do: it has no
// deadlines for a read that waits.
type oneConn struct {
	net.Listener

	conns chan net.Conn
	once  sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	if nc, ok := <-l.conns; ok {
		return nc, nil
	}
	return nil, net.ErrClosed
}

func (*oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.conns) })
	return nil
}

// send sends a request to the limits of the gateway and returns the answer, empty if there is none.
// It pauses before the last byte.
func send(t *testing.T, h http.Handler, request string, pause time.Duration) string {
	t.Helper()
	nc, server := net.Pipe()
	bal, err := rebalance.New(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	lis, web := &oneConn{conns: make(chan net.Conn, 1)}, serveropts.HTTPServer(bal, limited(h))
	lis.conns <- server
	go func() { _ = web.Serve(lis) }()
	defer web.Stop()
	var writes sync.WaitGroup
	defer writes.Wait()
	defer nc.Close()
	writes.Go(func() {
		last := len(request) - 1
		_, _ = io.WriteString(nc, request[:last])
		time.Sleep(pause)
		_, _ = io.WriteString(nc, request[last:])
	})
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

// A handler may take as long as it likes, and a body may not.
func TestGatewayBoundsBodiesAndNotHandlers(t *testing.T) {
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, "no body", http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(10 * time.Minute):
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
			_, _ = io.WriteString(w, "canceled")
		}
	})
	const post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
	for name, tc := range map[string]struct {
		request string
		pause   time.Duration
		want    string
	}{
		"no body":      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 0, "done"},
		"a body":       {post + "Content-Length: 3\r\n\r\nabc", time.Second, "done"},
		"chunks":       {post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", time.Second, "done"},
		"a slow body":  {post + "Content-Length: 3\r\n\r\nabc", time.Minute, "no body"},
		"slow headers": {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", time.Minute, "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := strings.TrimSpace(send(t, slow, tc.request, tc.pause)); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		})
	}
}
