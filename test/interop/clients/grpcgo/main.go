// Command grpcgo is the client for old versions of grpc-go: grpcgo TARGETS POLICY SECONDS. See
// ../README.md. One source is built with two versions, by go.mod and by 1.50.mod.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	watchWorkers  = 2
	watchMessages = 3
	chatMessages  = 10
)

// The load, where it is not the usual.
var (
	deadline     = time.Duration(fromEnv("HELLO_DEADLINE", 10)) * time.Second
	unaryWorkers = fromEnv("HELLO_WORKERS", 8)
	text         = strings.Repeat("x", fromEnv("HELLO_BYTES", 5))
)

func fromEnv(name string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usual
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: grpcgo TARGETS POLICY SECONDS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "grpcgo:", err)
		os.Exit(1)
	}
}

func run(targets, policy, duration string) error {
	seconds, err := strconv.Atoi(duration)
	if err != nil {
		return err
	}
	h, err := dial(strings.Split(targets, ","), policy)
	if err != nil {
		return err
	}
	r := &result{Client: "grpc-go", Version: grpc.Version, Errors: map[string]int{}}
	work(h, r, seconds)
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
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
func work(h *hello, r *result, seconds int) {
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
	loop("hi", unaryWorkers, func() error { return h.hi(text, deadline) })
	loop("watch", watchWorkers, func() error { return h.watch(watchMessages) })
	loop("chat", 1, func() error { return h.chat(chatMessages, deadline) })
	// At one message a second, this stream ends shortly after the other calls.
	wg.Go(func() { r.add("long watch", h.watch(seconds+1)) })
	wg.Wait()
}
