package serveropts

import (
	"cmp"
	"context"
	"net"
	"net/http"

	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/internal/webconn"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// WebServer serves an http.Server whose connections a Balancer tracks. Make it with
// [HTTPServer].
type WebServer struct {
	web *http.Server
	srv *webconn.Server
}

// HTTPServer returns a server that serves web and tracks each of its connections for bal:
// HTTP/1.1, HTTP/2 with TLS, and unencrypted HTTP/2 if web.Protocols has it. Use its methods
// in place of those of web, and pass it to [rebalance.Balancer.Shutdown]:
//
//	web := serveropts.HTTPServer(bal, &http.Server{Handler: mux})
//	go web.Serve(lis)
//	err = bal.Shutdown(context.Background(), grpcServer, web)
//
// Handlers, settings, TLS and the hooks of web stay as they are. Set them before the first
// Serve. A gRPC server may be the handler, or a part of it (grpc.Server.ServeHTTP), and so may
// those of connect-go and grpc-gateway. In handlers [rebalance.Draining], [rebalance.SetKey] and
// [rebalance.Drain] work with the context of the request.
//
// A connection that speaks HTTP/2 is drained by a GOAWAY, as for grpc-go. One that speaks
// HTTP/1.1 is drained by "Connection: close" in the answer to its next request. Until that
// request it stays open, since closing an idle connection could cross a request that its client
// must not repeat.
//
// HTTPServer panics if bal or web is nil. Connections of web.Serve itself are not tracked.
func HTTPServer(bal *rebalance.Balancer, web *http.Server) *WebServer {
	switch {
	case bal == nil:
		panic("serveropts: the Balancer is nil")
	case web == nil:
		panic("serveropts: the http.Server is nil")
	}
	return &WebServer{web: web, srv: webconn.New(inside.Of(bal), web)}
}

// Serve is Serve of the http.Server. It always returns an error, which is http.ErrServerClosed
// after GracefulStop or Stop. A listener may return TLS connections, as that of crypto/tls does.
func (w *WebServer) Serve(l net.Listener) error { return w.srv.Serve(l) }

// ServeTLS is ServeTLS of the http.Server.
func (w *WebServer) ServeTLS(l net.Listener, certFile, keyFile string) error {
	defer l.Close()
	return w.srv.ServeTLS(l, certFile, keyFile)
}

// ListenAndServe is ListenAndServe of the http.Server.
func (w *WebServer) ListenAndServe() error {
	l, err := listen(cmp.Or(w.web.Addr, ":http"))
	if err != nil {
		return err
	}
	return w.Serve(l)
}

// ListenAndServeTLS is ListenAndServeTLS of the http.Server.
func (w *WebServer) ListenAndServeTLS(certFile, keyFile string) error {
	l, err := listen(cmp.Or(w.web.Addr, ":https"))
	if err != nil {
		return err
	}
	return w.ServeTLS(l, certFile, keyFile)
}

func listen(addr string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp", addr)
}

// GracefulStop is Shutdown of the http.Server, without a limit on its time: requests in flight
// finish. [rebalance.Balancer.Shutdown] calls it, and Stop when the time is over.
func (w *WebServer) GracefulStop() { _ = w.srv.Shutdown(context.Background()) }

// Stop is Close of the http.Server: requests in flight are cut off.
func (w *WebServer) Stop() { _ = w.srv.Close() }

var _ rebalance.Server = (*WebServer)(nil)
