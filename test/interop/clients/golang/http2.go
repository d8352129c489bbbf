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
	"sync/atomic"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// handmade is gRPC by hand over x/net's HTTP/2 transport, the plainest of HTTP/2 clients.
type handmade struct {
	web     *http.Client
	targets []string
	calls   atomic.Uint32
}

func newHTTP2(targets []string) caller {
	return &handmade{
		targets: targets,
		web: &http.Client{Transport: &http2.Transport{
			AllowHTTP: true,
			DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}},
	}
}

// post starts a call. A *bytes.Reader as body gives the request a GetBody, so that the transport
// may send it again if the server has not processed it.
func (h *handmade) post(ctx context.Context, method string, body io.Reader) (*http.Response, error) {
	target := h.targets[int(h.calls.Add(1))%len(h.targets)]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+target+"/hello.v1.HelloService/"+method, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	res, err := h.web.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		res.Body.Close()
		err = fmt.Errorf("HTTP %d", res.StatusCode)
	}
	return res, err
}

func (h *handmade) Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	body, err := encode(req)
	if err != nil {
		return nil, err
	}
	res, err := h.post(ctx, "Hi", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	msg, err := decode(res.Body)
	if err != nil {
		return nil, errors.Join(err, status(res))
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return nil, err
	}
	return msg, status(res)
}

func (h *handmade) Watch(ctx context.Context, req *hellov1.HiRequest, each func(*hellov1.HiResponse) bool) error {
	body, err := encode(req)
	if err != nil {
		return err
	}
	res, err := h.post(ctx, "Watch", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for {
		msg, err := decode(res.Body)
		if err != nil {
			return errors.Join(err, status(res))
		}
		if !each(msg) {
			return nil
		}
	}
}

func (h *handmade) Chat(ctx context.Context, n int) error {
	r, w := io.Pipe()
	defer w.Close()
	done := make(chan error, 1)
	answers := make(chan struct{})
	go func() { done <- h.answers(ctx, r, answers) }()
	for i := range n {
		body, err := encode(&hellov1.HiRequest{Message: fmt.Sprint(i)})
		if err != nil {
			return err
		}
		if _, err := w.Write(body); err != nil {
			return errors.Join(err, <-done)
		}
		select {
		case <-answers:
		case err := <-done:
			return fmt.Errorf("ended early: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return <-done
}

// answers runs one Chat. It sends to answers after each answer and returns the final error.
func (h *handmade) answers(ctx context.Context, body io.ReadCloser, answers chan<- struct{}) error {
	defer body.Close()
	res, err := h.post(ctx, "Chat", body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for {
		if _, err := decode(res.Body); errors.Is(err, io.EOF) {
			return status(res)
		} else if err != nil {
			return errors.Join(err, status(res))
		}
		answers <- struct{}{}
	}
}

// encode adds gRPC's prefix to a message: one byte of flags and four of length.
func encode(msg proto.Message) ([]byte, error) {
	data, err := proto.Marshal(msg)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(data))), data...), nil
}

func decode(r io.Reader) (*hellov1.HiResponse, error) {
	var prefix [5]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	data := make([]byte, binary.BigEndian.Uint32(prefix[1:]))
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	msg := new(hellov1.HiResponse)
	return msg, proto.Unmarshal(data, msg)
}

// status returns the status of a call as an error. The body must have been read to its end.
func status(res *http.Response) error {
	code := res.Trailer.Get("Grpc-Status")
	if code == "" {
		code = res.Header.Get("Grpc-Status")
	}
	if code != "0" {
		return fmt.Errorf("grpc-status %q", code)
	}
	return nil
}
