package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

type grpcGo struct{ hello hellov1.HelloServiceClient }

func newGRPC(targets []string, policy, ca string) (caller, error) {
	creds := insecure.NewCredentials()
	if ca != "" {
		var err error
		if creds, err = credentials.NewClientTLSFromFile(ca, "hello.test"); err != nil {
			return nil, err
		}
	}
	target, r := "static:///hello.test", manual.NewBuilderWithScheme("static")
	if strings.HasPrefix(targets[0], "dns:") {
		target = targets[0]
	}
	var endpoints []resolver.Endpoint
	for _, t := range targets {
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: t}}})
	}
	r.InitialState(resolver.State{Endpoints: endpoints})
	cc, err := grpc.NewClient(target,
		grpc.WithResolvers(r),
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"`+policy+`":{}}]}`))
	if err != nil {
		return nil, err
	}
	return &grpcGo{hello: hellov1.NewHelloServiceClient(cc)}, nil
}

func (g *grpcGo) Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	return g.hello.Hi(ctx, req)
}

func (g *grpcGo) Watch(ctx context.Context, req *hellov1.HiRequest, each func(*hellov1.HiResponse) bool) error {
	s, err := g.hello.Watch(ctx, req)
	if err != nil {
		return err
	}
	for {
		res, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !each(res) {
			return nil
		}
	}
}

func (g *grpcGo) Chat(ctx context.Context, n int) error {
	s, err := g.hello.Chat(ctx)
	if err != nil {
		return err
	}
	for i := range n {
		// After io.EOF from Send, Recv returns the actual error.
		if err := s.Send(&hellov1.HiRequest{Message: fmt.Sprint(i)}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("no clean end: %w", err)
	}
	return nil
}
