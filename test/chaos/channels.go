package main

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// reading is how a channel reads what servers send.
type reading int

const (
	promptly reading = iota
	// narrowly has windows that one slow stream fills, as do slow programs.
	narrowly
	// slowly has wide windows and a slow line, as a distant client does. The server has
	// written the end of an RPC long before the client reads it.
	slowly
	// byHTTP is no grpc-go client at all.
	byHTTP
)

const (
	narrowWindow = 64 << 10 // the least that grpc-go takes
	wideWindow   = 2 << 20
	slowPause    = 10 * time.Millisecond // 8 KB each: 800 KB/s
)

// channel is a client of its own with a few connections.
type channel struct {
	cc    *grpc.ClientConn
	hello hellov1.HelloServiceClient
	http  *httpClient // instead of both
}

// channelSpec describes a channel: first rotates the addresses, so that pick_first begins
// with another one.
type channelSpec struct {
	policy string
	first  int
	reads  reading
}

var channelSpecs = []channelSpec{
	{"round_robin", 0, promptly},
	{"pick_first", 0, promptly},
	{"pick_first", 1, promptly},
	{"round_robin", 0, narrowly},
	{"pick_first", 1, narrowly},
	{"pick_first", 0, slowly},
	{"round_robin", 0, slowly},
}

// channels holds the open channels by how they read.
type channels map[reading][]*channel

func openChannels(all []security, f *fleet, ls *lines) (channels, error) {
	out := channels{}
	for i, s := range all {
		for _, spec := range channelSpecs {
			c, err := spec.open(s, f.of(i), ls)
			if err != nil {
				out.close()
				return nil, err
			}
			out[spec.reads] = append(out[spec.reads], c)
		}
		for _, addr := range f.of(i) {
			out[byHTTP] = append(out[byHTTP], openHTTP(s.config, addr, ls))
		}
	}
	return out, nil
}

func (s channelSpec) open(sec security, addrs []string, ls *lines) (*channel, error) {
	addrs = slices.Concat(addrs[s.first:], addrs[:s.first])
	var state resolver.State
	for _, a := range addrs {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	names := manual.NewBuilderWithScheme("chaos")
	names.InitialState(state)
	opts := []grpc.DialOption{
		grpc.WithResolvers(names),
		grpc.WithTransportCredentials(sec.client),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, s.policy)),
	}
	pause := time.Duration(0)
	switch s.reads {
	case promptly, byHTTP:
	case narrowly:
		opts = append(opts, grpc.WithInitialWindowSize(narrowWindow), grpc.WithInitialConnWindowSize(2*narrowWindow))
	case slowly:
		pause = slowPause
		opts = append(opts, grpc.WithInitialWindowSize(wideWindow), grpc.WithInitialConnWindowSize(wideWindow))
	}
	cc, err := grpc.NewClient("chaos:///pods", append(opts, grpc.WithContextDialer(ls.dialer(pause)))...)
	if err != nil {
		return nil, err
	}
	return &channel{cc: cc, hello: hellov1.NewHelloServiceClient(cc)}, nil
}

func (c channels) close() {
	for _, all := range c {
		for _, ch := range all {
			if ch.http != nil {
				ch.http.transport.CloseIdleConnections()
				continue
			}
			_ = ch.cc.Close()
		}
	}
}
