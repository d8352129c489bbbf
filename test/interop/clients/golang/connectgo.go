package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"connectrpc.com/connect"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// connectGo speaks gRPC with connect-go over the standard library's HTTP/2. connect-go has no
// load balancing, so there is one client per server, used round robin.
type connectGo struct {
	clients []connectClient
	calls   atomic.Uint32
}

type connectClient struct {
	hi    *connect.Client[hellov1.HiRequest, hellov1.HiResponse]
	watch *connect.Client[hellov1.HiRequest, hellov1.HiResponse]
	chat  *connect.Client[hellov1.HiRequest, hellov1.HiResponse]
}

func newConnect(targets []string) caller {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	web := &http.Client{Transport: &http.Transport{Protocols: &h2c}}
	c := &connectGo{}
	for _, t := range targets {
		url := "http://" + t + "/hello.v1.HelloService/"
		c.clients = append(c.clients, connectClient{
			hi:    connect.NewClient[hellov1.HiRequest, hellov1.HiResponse](web, url+"Hi", connect.WithGRPC()),
			watch: connect.NewClient[hellov1.HiRequest, hellov1.HiResponse](web, url+"Watch", connect.WithGRPC()),
			chat:  connect.NewClient[hellov1.HiRequest, hellov1.HiResponse](web, url+"Chat", connect.WithGRPC()),
		})
	}
	return c
}

func (c *connectGo) next() connectClient {
	return c.clients[int(c.calls.Add(1))%len(c.clients)]
}

func (c *connectGo) Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	res, err := c.next().hi.CallUnary(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (c *connectGo) Watch(ctx context.Context, req *hellov1.HiRequest, each func(*hellov1.HiResponse) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.next().watch.CallServerStream(ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	// cancel runs before Close, which alone would wait for the end of an endless stream.
	defer s.Close()
	defer cancel()
	for s.Receive() {
		if !each(s.Msg()) {
			return nil
		}
	}
	return s.Err()
}

func (c *connectGo) Chat(ctx context.Context, n int) error {
	s := c.next().chat.CallBidiStream(ctx)
	defer s.CloseResponse()
	for i := range n {
		if err := s.Send(&hellov1.HiRequest{Message: fmt.Sprint(i)}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := s.Receive(); err != nil {
			return err
		}
	}
	if err := s.CloseRequest(); err != nil {
		return err
	}
	if _, err := s.Receive(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("no clean end: %w", err)
	}
	return nil
}
