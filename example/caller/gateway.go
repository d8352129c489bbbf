package caller

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// dialGateway returns a client that calls through grpc-gateway, over HTTP/1.1 with keep-alive or
// HTTP/2 without TLS.
func dialGateway(o *options) *client {
	c := &client{o: o, tally: newTally(time.Now())}
	for i := range o.channels {
		g := newOverHTTP(o, o.dialer(i), c.tally)
		c.conns, c.stubs = append(c.conns, g), append(c.stubs, g)
	}
	return c
}

// overHTTP is a stub of the service that calls through a gateway.
type overHTTP struct {
	hellov1.HelloServiceClient // panics on the methods that have no JSON side

	url string
	web *http.Client
}

func newOverHTTP(o *options, d *net.Dialer, t *tally) *overHTTP {
	tr := &http.Transport{
		Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := d.DialContext(ctx, network, addr)
			if err == nil {
				t.opened()
			}
			return nc, err
		},
	}
	tr.Protocols.SetHTTP1(!o.h2c)
	tr.Protocols.SetUnencryptedHTTP2(o.h2c)
	if !o.h2c { // HTTP/2 needs one connection for any number of calls
		tr.MaxConnsPerHost = 1
	}
	return &overHTTP{url: "http://" + o.target + "/v1/hi", web: &http.Client{Transport: tr}}
}

// Close closes the connection.
func (g *overHTTP) Close() error {
	g.web.CloseIdleConnections()
	return nil
}

// Hi posts the request as JSON.
func (g *overHTTP) Hi(ctx context.Context, req *hellov1.HiRequest, _ ...grpc.CallOption) (*hellov1.HiResponse, error) {
	body, err := protojson.Marshal(req)
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	res, err := g.web.Do(post)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	if err != nil {
		return nil, err
	}
	var out hellov1.HiResponse
	return &out, protojson.Unmarshal(answer, &out)
}
