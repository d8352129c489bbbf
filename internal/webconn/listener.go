package webconn

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/evenkeel-go/evenkeel/internal/conns"
)

// listener wraps the connections of the one below.
type listener struct {
	net.Listener

	srv   *Server
	tls   *tls.Config // of ServeTLS
	ready func()      // ends the set-up; may be called again
}

func (l *listener) Accept() (net.Conn, error) {
	// By now net/http has set up HTTP/2, and no connection is served yet.
	l.srv.adopted.Do(l.srv.adopt)
	l.settle()
	l.ready()
	nc, err := l.Listener.Accept()
	if err != nil || l.inProcess() {
		return nc, err
	}
	return l.srv.wrap(nc), nil
}

// inProcess reports whether the clients are in this process: see serveropts.InProcess.
func (l *listener) inProcess() bool {
	_, ours := l.Addr().(conns.InProcessAddr)
	return ours
}

// settle offers HTTP/2 to clients only if net/http serves it, which GODEBUG may prevent.
func (l *listener) settle() {
	if l.tls == nil {
		return
	}
	if _, ok := l.srv.web.TLSNextProto["h2"]; !ok {
		l.tls.NextProtos = slices.DeleteFunc(l.tls.NextProtos, func(p string) bool { return p == "h2" })
	}
	l.tls = nil
}

// wrap returns what net/http serves in place of nc.
func (s *Server) wrap(nc net.Conn) net.Conn {
	switch sec := nc.(type) {
	case *tls.Conn:
		if s.wrapsTLS {
			return &tlsConn{conn: s.newConn(nc), sec: sec}
		}
		s.byTLS.Store(sec, s.newConn(nc))
		return nc
	case stater:
		return &tlsConn{conn: s.newConn(nc), sec: sec}
	}
	c := new(plainConn)
	c.init(s, nc)
	return c
}

// tlsConfig returns the configuration with which the http.Server's own ServeTLS would serve.
func (s *Server) tlsConfig(certFile, keyFile string) (*tls.Config, error) {
	if s.web.TLSConfig == nil {
		s.web.TLSConfig = &tls.Config{}
	}
	p := protocols(s.web)
	cfg := s.web.TLSConfig.Clone()
	cfg.NextProtos = nextProtos(cfg.NextProtos, p)
	if p.HTTP2() {
		// As net/http's own ServeTLS does. Serve would not set up HTTP/2 otherwise.
		s.web.TLSConfig.NextProtos = slices.Clone(cfg.NextProtos)
	}
	if has := len(cfg.Certificates) > 0 || cfg.GetCertificate != nil || cfg.GetConfigForClient != nil; has && certFile == "" && keyFile == "" {
		return cfg, nil
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, nil
}

// protocols returns those that web serves, as net/http decides it.
func protocols(web *http.Server) http.Protocols {
	if web.Protocols != nil {
		return *web.Protocols
	}
	var p http.Protocols
	p.SetHTTP1(true)
	_, h2 := web.TLSNextProto["h2"]
	off := slices.Contains(strings.Split(os.Getenv("GODEBUG"), ","), "http2server=0")
	p.SetHTTP2(h2 || web.TLSNextProto == nil && !off)
	return p
}

// nextProtos adds the protocols that are served to those for ALPN, and removes the others.
func nextProtos(have []string, p http.Protocols) []string {
	out := slices.Clone(have)
	for _, one := range []struct {
		name string
		on   bool
	}{{"h2", p.HTTP2()}, {"http/1.1", p.HTTP1()}} {
		switch at := slices.Index(out, one.name); {
		case one.on && at < 0:
			out = append(out, one.name)
		case !one.on && at >= 0:
			out = slices.Delete(out, at, at+1)
		}
	}
	return out
}
