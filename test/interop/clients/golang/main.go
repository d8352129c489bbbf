// Command golang contains the clients in Go: grpc-go, connect-go, and gRPC by hand over net/http2.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

// caller is implemented by each kind of client.
type caller interface {
	// Hi makes one unary call.
	Hi(ctx context.Context, req *hellov1.HiRequest) (*hellov1.HiResponse, error)
	// Watch calls each for every message until it returns false.
	Watch(ctx context.Context, req *hellov1.HiRequest, each func(*hellov1.HiResponse) bool) error
	// Chat sends n messages, waits for the answer to each, and half-closes.
	Chat(ctx context.Context, n int) error
}

const (
	watchWorkers  = 2
	watchMessages = 3
	chatMessages  = 10
)

// The load, where it is not the usual.
var (
	deadline     = time.Duration(fromEnv("HELLO_DEADLINE", 10)) * time.Second
	unaryWorkers = fromEnv("HELLO_WORKERS", 8)
	message      = strings.Repeat("x", fromEnv("HELLO_BYTES", 5))
)

func fromEnv(name string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usual
}

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: golang KIND TARGETS POLICY SECONDS [CA.pem]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "golang:", err)
		os.Exit(1)
	}
}

func run(kind string, args []string) error {
	seconds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	ca := ""
	if len(args) > 3 {
		ca = args[3]
	}
	c, module, err := newCaller(kind, strings.Split(args[0], ","), args[1], ca)
	if err != nil {
		return err
	}
	r := &result{Client: kind, Version: version(module), Errors: map[string]int{}}
	work(c, r, seconds)
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func newCaller(kind string, targets []string, policy, ca string) (caller, string, error) {
	switch kind {
	case "grpc-go":
		c, err := newGRPC(targets, policy, ca)
		return c, "google.golang.org/grpc", err
	case "connect-go":
		return newConnect(targets), "connectrpc.com/connect", nil
	case "net/http2":
		return newHTTP2(targets), "golang.org/x/net", nil
	}
	return nil, "", fmt.Errorf("unknown client %q", kind)
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, d := range info.Deps {
		if d.Path == module {
			return strings.TrimPrefix(d.Version, "v")
		}
	}
	return "?"
}

// result is the line that is printed at the end.
type result struct {
	Client  string         `json:"client"`
	Version string         `json:"version"`
	Calls   int            `json:"calls"`
	Failed  int            `json:"failed"`
	Errors  map[string]int `json:"errors"`

	mu sync.Mutex
}

func (r *result) add(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Calls++
	if err != nil {
		r.Failed++
		r.Errors[what+": "+err.Error()]++
	}
}

// work makes calls for the given seconds and returns when the last one has ended.
func work(c caller, r *result, seconds int) {
	var wg sync.WaitGroup
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	loop := func(what string, n int, call func() error) {
		for range n {
			wg.Go(func() {
				for time.Now().Before(end) {
					r.add(what, call())
				}
			})
		}
	}
	loop("hi", unaryWorkers, func() error { return hi(c) })
	loop("watch", watchWorkers, func() error { return watch(c, watchMessages) })
	loop("chat", 1, func() error { return chat(c) })
	// At one message a second, this stream ends shortly after the other calls.
	wg.Go(func() { r.add("long watch", watch(c, seconds+1)) })
	wg.Wait()
}

func hi(c caller) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	res, err := c.Hi(ctx, &hellov1.HiRequest{ToWho: "you", Message: message})
	if err == nil && res.GetMessage() != message {
		err = fmt.Errorf("answered %.20q", res.GetMessage())
	}
	return err
}

func watch(c caller, want int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	got := 0
	err := c.Watch(ctx, &hellov1.HiRequest{ToWho: "you"}, func(*hellov1.HiResponse) bool {
		got++
		return got < want
	})
	if err == nil && got < want {
		err = fmt.Errorf("ended early")
	}
	return err
}

func chat(c caller) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return c.Chat(ctx, chatMessages)
}
