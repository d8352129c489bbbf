package works

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// overHTTP is a way to serve gRPC with net/http.
type overHTTP struct {
	// start starts the web server and returns the credentials of its clients.
	start func(web *httptest.Server) credentials.TransportCredentials
	// auth is the AuthType that handlers must see.
	auth string
}

func startH2C(web *httptest.Server) credentials.TransportCredentials {
	web.Config.Protocols = new(http.Protocols)
	web.Config.Protocols.SetUnencryptedHTTP2(true)
	web.Start()
	return insecure.NewCredentials()
}

func startTLS(web *httptest.Server) credentials.TransportCredentials {
	web.EnableHTTP2 = true
	web.StartTLS()
	cfg := web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	return credentials.NewTLS(cfg)
}

// byServeHTTP serves gRPC by a web server whose connections are tracked. start is only asked for
// the protocols and the clients' credentials.
func byServeHTTP(start func(*httptest.Server) credentials.TransportCredentials) func(*testing.T, *rebalance.Balancer) *place {
	return func(t *testing.T, bal *rebalance.Balancer) *place {
		t.Helper()
		model := httptest.NewUnstartedServer(http.NotFoundHandler())
		creds := start(model)
		t.Cleanup(model.Close)
		srv := &http.Server{Handler: newServer(bal, insecure.NewCredentials()), Protocols: model.Config.Protocols}
		if model.TLS != nil {
			srv.TLSConfig = &tls.Config{Certificates: model.TLS.Certificates}
		}
		web, lis, done := serveropts.HTTPServer(bal, srv), listen(t), make(chan error, 1)
		go func() {
			if srv.TLSConfig != nil {
				done <- web.ServeTLS(lis, "", "")
			} else {
				done <- web.Serve(lis)
			}
		}()
		t.Cleanup(func() {
			web.Stop()
			if err := <-done; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("Serve returned %v", err)
			}
		})
		p := &place{servers: []rebalance.Server{web}}
		for range clients {
			p.dials = append(p.dials, dial{"passthrough:///" + lis.Addr().String(), []grpc.DialOption{grpc.WithTransportCredentials(creds)}})
		}
		return p
	}
}

// Without serveropts.HTTPServer, nothing can be tracked or drained. Calls go on as without
// evenkeel, and the first health check shows the condition "serve-http".
func TestServeHTTP(t *testing.T) {
	for name, o := range map[string]overHTTP{
		"h2c": {start: startH2C},
		"tls": {start: startTLS, auth: "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bal, _ := balancer(t)
			web := httptest.NewUnstartedServer(newServer(bal, insecure.NewCredentials()))
			t.Cleanup(web.Close)
			c := dialHTTP(t, web, o.start(web))

			want := facts{auth: o.auth}
			if err := call(t.Context(), c, want); err != nil {
				t.Fatal(err)
			}
			if s := bal.Status(); s.Tracked != 0 || s.Connections != 0 || s.Untracked != 0 || len(s.Conditions) != 0 {
				t.Errorf("before a health check: got %+v, want no connection, no untracked RPC and no condition", s)
			}
			undrained(t, bal, c, want)
			untracked(t, bal, c)
			shutDownHTTP(t, bal, web, c)
		})
	}
}

func dialHTTP(t *testing.T, web *httptest.Server, creds credentials.TransportCredentials) *client {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+web.Listener.Addr().String(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return newClient(cc)
}

// undrained checks that DrainAll has no effect on calls and streams.
func undrained(t *testing.T, bal *rebalance.Balancer, c *client, want facts) {
	t.Helper()
	c.open(t)
	if n := bal.DrainAll(t.Context()); n != 0 {
		t.Errorf("DrainAll drained %d connections, want 0", n)
	}
	if err := call(t.Context(), c, want); err != nil {
		t.Error(err)
	}
	c.exchange(t)
	c.end(t)
}

// untracked checks what a health check brings to light.
func untracked(t *testing.T, bal *rebalance.Balancer, c *client) {
	t.Helper()
	c.checkHealth(t)
	s := bal.Status()
	if s.Untracked != 1 || len(s.Conditions) != 1 || s.Conditions[0].Code != "serve-http" {
		t.Errorf("after a health check: got %d untracked RPCs and conditions %+v, want 1 and \"serve-http\"", s.Untracked, s.Conditions)
	}
	if s.Tracked != 0 || s.GoAways["manual"] != 0 {
		t.Errorf("got %d tracked connections and GOAWAYs %v, want none", s.Tracked, s.GoAways)
	}
}

// shutDownHTTP leaves the gRPC server out of Balancer.Shutdown: GracefulStop would cut off
// the RPCs that net/http serves. The web server waits for them.
func shutDownHTTP(t *testing.T, bal *rebalance.Balancer, web *httptest.Server, c *client) {
	t.Helper()
	c.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := bal.Shutdown(ctx); err != nil {
		t.Errorf("the Balancer's Shutdown returned %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- web.Config.Shutdown(ctx) }()
	c.exchange(t)
	c.end(t)
	if err := <-done; err != nil {
		t.Errorf("the web server's Shutdown returned %v", err)
	}
}
