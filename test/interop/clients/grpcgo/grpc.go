package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const service = "/hello.v1.HelloService/"

// hello calls the service without generated code, since that needs a newer grpc-go. It reads the
// messages from the descriptor in HELLO_DESCRIPTOR.
type hello struct {
	conn              *grpc.ClientConn
	request, response protoreflect.MessageDescriptor
}

func dial(targets []string, policy string) (*hello, error) {
	file, err := descriptor(os.Getenv("HELLO_DESCRIPTOR"))
	if err != nil {
		return nil, err
	}
	target, r := "static:///hello.test", manual.NewBuilderWithScheme("static")
	if strings.HasPrefix(targets[0], "dns:") {
		target = targets[0]
	}
	var state resolver.State
	for _, t := range targets {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: t})
	}
	r.InitialState(state)
	// Dial, not NewClient: 1.50 has only that.
	conn, err := grpc.Dial(target,
		grpc.WithResolvers(r),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"`+policy+`":{}}]}`))
	if err != nil {
		return nil, err
	}
	messages := file.Messages()
	return &hello{conn: conn, request: messages.ByName("HiRequest"), response: messages.ByName("HiResponse")}, nil
}

func descriptor(path string) (protoreflect.FileDescriptor, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFile(set.GetFile()[0], nil)
}

// message returns a request.
func (h *hello) message(text string) proto.Message {
	m := dynamicpb.NewMessage(h.request)
	m.Set(h.request.Fields().ByName("to_who"), protoreflect.ValueOfString("you"))
	m.Set(h.request.Fields().ByName("message"), protoreflect.ValueOfString(text))
	return m
}

func (h *hello) hi(text string, deadline time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	res := dynamicpb.NewMessage(h.response)
	if err := h.conn.Invoke(ctx, service+"Hi", h.message(text), res); err != nil {
		return err
	}
	if got := res.Get(h.response.Fields().ByName("message")).String(); got != text {
		return fmt.Errorf("answered %.20q", got)
	}
	return nil
}

func (h *hello) watch(want int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := h.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, service+"Watch")
	if err != nil {
		return err
	}
	if err := s.SendMsg(h.message("")); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for range want {
		if err := s.RecvMsg(dynamicpb.NewMessage(h.response)); err != nil {
			return err
		}
	}
	return nil
}

func (h *hello) chat(messages int, deadline time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	s, err := h.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, service+"Chat")
	if err != nil {
		return err
	}
	for i := range messages {
		// After io.EOF from SendMsg, RecvMsg returns the actual error.
		if err := s.SendMsg(h.message(fmt.Sprint(i))); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := s.RecvMsg(dynamicpb.NewMessage(h.response)); err != nil {
			return err
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err := s.RecvMsg(dynamicpb.NewMessage(h.response)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("no clean end: %w", err)
	}
	return nil
}
