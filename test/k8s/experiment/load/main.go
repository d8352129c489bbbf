// Command load is the example's client, which is a plain grpc-go client. It also prints a line
// {"query": milliseconds since 1970} for each of its DNS queries. It does not change when they
// happen.
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
		// A line is a single write, because another goroutine prints the reports.
		fmt.Fprintf(os.Stdout, "{\"query\":%d}\n", time.Now().UnixMilli())
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	os.Exit(caller.Main(os.Args[1:], os.Stdout, os.Stderr))
}
