package serveropts_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/serveropts"
)

// net/http fails the first request of a connection, and does not repeat it, if the connection
// ends before the request was sent. So a connection that has just been made is not drained at
// once.
func TestFirstRequestOfAConnection(t *testing.T) {
	bal := balancer(t)
	addr := serveWith(t, bal, serveropts.Options(bal, insecure.NewCredentials())...)
	web := &http.Transport{Protocols: new(http.Protocols)}
	web.Protocols.SetUnencryptedHTTP2(true)
	defer web.CloseIdleConnections()
	var wg sync.WaitGroup
	defer wg.Wait()
	over := make(chan struct{})
	defer close(over)
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(50 * time.Microsecond):
				bal.DrainAll(t.Context())
			}
		}
	})
	// A busy client may take a moment between dialing and its request.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { time.Sleep(5 * time.Millisecond) },
	})
	for range 50 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/none/None", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := web.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}
