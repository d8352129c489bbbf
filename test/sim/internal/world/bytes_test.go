package world

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
)

// countedConn counts the bytes of a connection in both directions.
type countedConn struct {
	net.Conn

	bytes *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

// bytesOf returns the bytes of a request for keys and of the answer, as pods send them: without
// keys it is a poll. The first connections keys have a connection, and the first singleHomed ones
// are single-homed.
func bytesOf(t *testing.T, keys, connections, singleHomed int) float64 {
	t.Helper()
	var hashed []string
	for i := range keys {
		hashed = append(hashed, peerz.HashKey(fmt.Sprint(i)))
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rep := peerz.Report{
		Pod: "hello-7d4b9c6f5-abcde", Ready: true, UptimeMillis: 86_400_123, Connections: 1012,
		Keys: map[string]int{}, SingleHomed: hashed[:singleHomed],
		Place: peerz.Place{SaltCheck: "0f1e"},
	}
	if keys == 0 {
		rep.Generation, rep.Draining, rep.Streams, rep.Cores = 12, 12, 345, 2
		rep.Loads = map[string]float64{"requests": 2345.67, "streams": 345.678}
		rep.Zone, rep.Revision = "europe-west3-a", "7d4b9c6f5"
		rep.Judgment = peerz.Judgment{Verdict: "moving", Why: "this pod drains 12 connections within 240ms"}
	}
	for _, key := range hashed[:connections] {
		rep.Keys[key] = 1
	}
	srv := &http.Server{Handler: peerz.Handler(func([]string) peerz.Report { return rep })}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	var n atomic.Int64
	client := &peerz.Client{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
		return countedConn{nc, &n}, err
	}}
	if _, err := client.Ask(t.Context(), "10.12.134.156:8080", hashed); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	<-served
	return float64(n.Load())
}

// The traffic of the simulation is that of the real encoding.
func TestBytesAreThoseOfTheWire(t *testing.T) {
	const many = 100
	one, asked := bytesOf(t, 1, 0, 0), bytesOf(t, many, 0, 0)
	perKey := (asked - one) / (many - 1)
	for _, tc := range []struct {
		what      string
		got, want float64
	}{
		{"a poll", bytesPerPoll, bytesOf(t, 0, 0, 0)},
		{"a query", bytesPerQuery, one - perKey},
		{"a key that the pod does not have", bytesPerKey, perKey},
		{"a key that it has", bytesPerKeyHeld, (bytesOf(t, many, many, 0) - asked) / many},
		{"a key that is single-homed", bytesPerKeySingle, (bytesOf(t, many, 0, many) - asked) / many},
	} {
		if tc.got < tc.want || tc.got > 1.1*tc.want+1 {
			t.Errorf("%s: the simulation counts %v bytes, pods send %v", tc.what, tc.got, tc.want)
		}
	}
}
