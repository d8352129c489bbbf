package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"google.golang.org/protobuf/proto"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// httpClient makes unary gRPC calls with Go's net/http. Unlike grpc-go it leaves a connection
// open that is idle when the GOAWAY arrives, so that the server has to close it.
type httpClient struct {
	transport *http.Transport
	url       string
}

// openHTTP returns a client of one pod. A nil config means plaintext.
func openHTTP(cfg *tls.Config, addr string, ls *lines) *channel {
	dial := ls.dialer(0)
	t := &http.Transport{
		DialContext:     func(ctx context.Context, _, addr string) (net.Conn, error) { return dial(ctx, addr) },
		TLSClientConfig: cfg.Clone(),
		Protocols:       new(http.Protocols),
	}
	scheme := "http"
	if cfg != nil {
		scheme = "https"
	}
	t.Protocols.SetHTTP2(cfg != nil)
	t.Protocols.SetUnencryptedHTTP2(cfg == nil)
	return &channel{http: &httpClient{t, scheme + "://" + addr + hellov1.HelloService_Hi_FullMethodName}}
}

// httpPause is how long a worker pauses at most between two calls, so that most connections
// are idle when they are drained.
const httpPause = 200 * time.Millisecond

// overHTTP is a unary RPC after a pause. Its ID is executed once, although net/http repeats a request that
// the server has refused.
func (r *rpc) overHTTP() error {
	if err := wait(r.ctx, r.upTo(httpPause)); err != nil {
		return err
	}
	ctx := httptrace.WithClientTrace(r.ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		r.peer.LocalAddr = got.Conn.LocalAddr()
	}})
	want := r.request(order{drain: r.rng.IntN(drainsOf) == 0})
	answer, err := r.http.post(ctx, want)
	if err != nil {
		return err
	}
	if answer.GetFromWho() != want.GetToWho() {
		return fmt.Errorf("%w: from %q, want %q", errWrong, answer.GetFromWho(), want.GetToWho())
	}
	return nil
}

// prefixLen is the length of what stands before a message: a flag and its length.
const prefixLen = 5

func (c *httpClient) post(ctx context.Context, m *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	body := binary.BigEndian.AppendUint32(make([]byte, 1, prefixLen+len(b)), uint32(len(b)))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(append(body, b...)))
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err = io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if status := res.Trailer.Get("Grpc-Status"); status != "0" || len(b) < prefixLen {
		return nil, fmt.Errorf("status %s, grpc-status %q, %d bytes", res.Status, status, len(b))
	}
	answer := &hellov1.HiResponse{}
	return answer, errors.Join(proto.Unmarshal(b[prefixLen:], answer))
}
