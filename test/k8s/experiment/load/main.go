// Command load is the example's client, which is an ordinary grpc-go client, and
// also tells when its process asks DNS: one line {"asked": milliseconds since 1970}
// for each question. It changes nothing about when that happens.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/evenkeel-go/evenkeel/example/caller"
)

func main() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		// One write a line: reports come from another goroutine.
		fmt.Fprintf(os.Stdout, "{\"asked\":%d}\n", time.Now().UnixMilli())
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	os.Exit(caller.Main(os.Args[1:], os.Stdout, os.Stderr))
}
