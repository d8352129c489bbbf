// Package tracker puts evenkeel under servers that know nothing of it. The conformance
// command links it into the test binaries of grpc-go, with a build overlay.
package tracker

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"

	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// CountsEnv names the environment variable with the folder into which each process writes its
// Counts. Without it nothing is written.
const CountsEnv = "EVENKEEL_CONFORMANCE_COUNTS"

// Counts is what one process has tracked.
type Counts struct {
	// Dir is the folder that the process was started in, which for a test is that of its package.
	Dir string `json:"dir"`
	// Tracked is how many connections its servers were given by evenkeel.
	Tracked uint64 `json:"tracked"`
}

// all is the Balancer of every server in this process. It is made before any test, outside of
// the bubbles of testing/synctest. Its loop does not run: the suites would take it for a
// leaked goroutine.
var all = newBalancer()

func newBalancer() *rebalance.Balancer {
	bal, err := rebalance.New(config.Default(),
		rebalance.WithSelf("conformance", "127.0.0.1"), rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	return bal
}

// Wrap returns a server's credentials as serveropts wraps them. nil is a server without
// credentials: its handlers see no AuthInfo, as on a bare server.
func Wrap(creds credentials.TransportCredentials) credentials.TransportCredentials {
	if os.Getenv(BreakEnv) == untracked {
		return creds
	}
	if creds == nil {
		creds = none{}
	}
	return Break(counted{serveropts.TransportCredentials(all, creds)})
}

// Serve serves a web server as serveropts.HTTPServer does, with TLS if it has a configuration
// for that.
func Serve(srv *http.Server, lis net.Listener) error {
	countRequests(srv)
	w, lis := serveropts.HTTPServer(all, srv), BreakListener(lis)
	switch {
	case os.Getenv(BreakEnv) == untracked && srv.TLSConfig != nil:
		return srv.ServeTLS(lis, "", "")
	case os.Getenv(BreakEnv) == untracked:
		return srv.Serve(lis)
	case srv.TLSConfig != nil:
		return w.ServeTLS(lis, "", "")
	}
	return w.Serve(lis)
}

// connKey is the key of a connection's sync.Once in the contexts of its requests.
type connKey struct{}

// countRequests counts each connection at its first request, if that request's handler sees
// that evenkeel tracks it.
func countRequests(srv *http.Server) {
	handler := srv.Handler
	srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, new(sync.Once))
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first, ok := r.Context().Value(connKey{}).(*sync.Once); ok && rebalance.Draining(r.Context()) != nil {
			first.Do(counts.add)
		}
		handler.ServeHTTP(w, r)
	})
}

// none is a server without credentials.
type none struct {
	credentials.TransportCredentials
}

func (none) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return raw, nil, nil
}

// counted counts the connections that come out of a handshake as evenkeel's.
type counted struct {
	credentials.TransportCredentials
}

func (c counted) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err == nil && ours(conn) {
		counts.add()
	}
	return conn, info, err
}

// ours reports whether evenkeel made a connection. The Balancer's own count may come later.
func ours(conn net.Conn) bool {
	t := reflect.TypeOf(conn)
	return t.Kind() == reflect.Pointer && strings.HasPrefix(t.Elem().PkgPath(), "github.com/evenkeel-go/evenkeel/internal/")
}

// counts are those of this process.
var counts = newFile(os.Getenv(CountsEnv))

// file is where the counts of a process stand. A test binary has no common end at which to
// write them once.
type file struct {
	dir string

	mu      sync.Mutex
	tracked uint64
	to      *os.File
}

// newFile makes a file in a folder. The folder that the process was started in is noted at
// once, because a test may change it.
func newFile(in string) *file {
	f := &file{}
	if in == "" {
		return f
	}
	var err error
	if f.dir, err = os.Getwd(); err != nil {
		panic(err)
	}
	if f.to, err = os.CreateTemp(in, "*.json"); err != nil {
		panic(err)
	}
	return f
}

// add counts one more connection. It replaces what stands in the file, which was no longer.
func (f *file) add() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tracked++
	if f.to == nil {
		return
	}
	text, err := json.Marshal(Counts{Dir: f.dir, Tracked: f.tracked})
	if err != nil {
		panic(err)
	}
	if _, err := f.to.WriteAt(text, 0); err != nil {
		panic(err)
	}
}
