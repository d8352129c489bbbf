package webconn

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/inside"
)

// Server serves an http.Server whose connections are tracked.
type Server struct {
	bal inside.Tracker
	web *http.Server

	setup    sync.Mutex // held while a listener is prepared
	hooked   sync.Once
	handler  http.Handler // the user's, as the hooks that follow
	inBase   func(net.Listener) context.Context
	inConn   func(context.Context, net.Conn) context.Context
	onState  func(net.Conn, http.ConnState)
	adopted  sync.Once
	wrapsTLS bool     // net/http takes a wrapped TLS connection
	byTLS    sync.Map // *tls.Conn to *conn, where net/http does not
	stopping atomic.Bool

	mu    sync.Mutex // guards what follows
	taken map[*conn]struct{}
	idle  chan struct{} // closed once taken is empty; nil if nobody waits
}

// New returns a Server for web, of which nothing changes before the first Serve.
func New(bal inside.Tracker, web *http.Server) *Server { return &Server{bal: bal, web: web} }

// Serve is that of the http.Server. Connections of l may be plaintext or TLS.
func (s *Server) Serve(l net.Listener) error {
	return s.serve(func() (*listener, error) { return &listener{Listener: l, srv: s}, nil })
}

// ServeTLS is that of the http.Server.
func (s *Server) ServeTLS(l net.Listener, certFile, keyFile string) error {
	return s.serve(func() (*listener, error) {
		cfg, err := s.tlsConfig(certFile, keyFile)
		if err != nil {
			return nil, err
		}
		return &listener{Listener: tls.NewListener(l, cfg), srv: s, tls: cfg}, nil
	})
}

// serve lets one listener at a time come as far as its first Accept. Until then net/http sets up
// HTTP/2, once, in fields of the http.Server that this package reads and writes as well.
func (s *Server) serve(prepare func() (*listener, error)) error {
	s.setup.Lock()
	ready := sync.OnceFunc(s.setup.Unlock)
	defer ready()
	s.hooked.Do(s.hook)
	l, err := prepare()
	if err != nil {
		return err
	}
	l.ready = ready
	return s.web.Serve(l)
}

// Shutdown stops the http.Server gracefully. Unlike that, it waits for HTTP/2 connections that a
// handler has taken over, as that of x/net/http2/h2c does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	if err := s.web.Shutdown(ctx); err != nil {
		return err
	}
	s.leaveAll()
	select {
	case <-s.returned():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes all connections, with those taken over.
func (s *Server) Close() error {
	s.stopping.Store(true)
	err := s.web.Close()
	s.leaveAll()
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.taken))
	s.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
	return err
}

// take notes that a handler has taken over an HTTP/2 connection.
func (s *Server) take(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken == nil {
		s.taken = map[*conn]struct{}{}
	}
	s.taken[c] = struct{}{}
}

// end undoes take when the connection is closed.
func (s *Server) end(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.taken, c)
	s.wakeLocked()
}

// returned returns a channel that is closed once no connection is taken over.
func (s *Server) returned() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil { // another call of Shutdown may wait already
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.wakeLocked()
	return idle
}

func (s *Server) wakeLocked() {
	if s.idle != nil && len(s.taken) == 0 {
		close(s.idle)
		s.idle = nil
	}
}

// hook puts the Server into the places of the http.Server, in front of what is there.
func (s *Server) hook() {
	s.handler = s.web.Handler
	if s.handler == nil {
		s.handler = http.DefaultServeMux
	}
	s.inBase, s.inConn, s.onState = s.web.BaseContext, s.web.ConnContext, s.web.ConnState
	s.web.Handler, s.web.ConnContext, s.web.ConnState = s, s.connContext, s.connState
	s.web.BaseContext = s.baseContext
}

// ServeHTTP closes a drained HTTP/1.1 connection with the answer to this request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, ok := conns.CarrierFrom(r.Context()).(*conn); ok && c.protocol.Load() == isHTTP1 {
		c.answer(w, r)
	}
	s.handler.ServeHTTP(w, r)
}

// answer notes a request on an HTTP/1.1 connection, and has its answer close the connection if
// that is drained. An Upgrade is left alone: its answer closes nothing, and some proxies copy
// the header into it.
func (c *conn) answer(w http.ResponseWriter, r *http.Request) {
	c.h1.Used(conns.UseOf(r.URL.Path, r.UserAgent()))
	if _, upgrades := r.Header["Upgrade"]; !upgrades && c.h1.Last() {
		w.Header().Set("Connection", "close")
	}
}

// baseContext shows the user's function the user's listener.
func (s *Server) baseContext(l net.Listener) context.Context {
	own, ok := l.(*listener)
	if ok {
		l = own.Listener
	}
	ctx := context.Background()
	if s.inBase != nil {
		ctx = s.inBase(l)
	}
	if ok && own.inProcess() {
		ctx = conns.NewContext(ctx, nobody{})
	}
	return ctx
}

// nobody carries the requests of this process itself. They are meant not to be tracked.
type nobody struct{}

// Carried returns nil.
func (nobody) Carried() *conns.Conn { return nil }

// connContext lets handlers find their connection.
func (s *Server) connContext(ctx context.Context, nc net.Conn) context.Context {
	if c := s.connOf(nc); c != nil {
		ctx, nc = conns.NewContext(ctx, c), c.Conn
	}
	if s.inConn != nil {
		return s.inConn(ctx, nc)
	}
	return ctx
}

func (s *Server) connState(nc net.Conn, state http.ConnState) {
	if c := s.connOf(nc); c != nil {
		c.moved(state)
		nc = c.Conn
	}
	if s.onState != nil {
		s.onState(nc, state)
	}
}

// connOf returns the conn behind what net/http has, nil if that is none of this Server.
func (s *Server) connOf(nc net.Conn) *conn {
	switch nc := nc.(type) {
	case interface{ itself() *conn }:
		return nc.itself()
	case *tls.Conn:
		known, _ := s.byTLS.Load(nc)
		c, _ := known.(*conn)
		return c
	}
	return nil
}
