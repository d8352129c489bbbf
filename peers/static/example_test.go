package static_test

import (
	"context"
	"fmt"
	"log"

	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/peers/static"
)

// A Balancer runs the source; here the example runs it and prints its first report.
func ExampleNew() {
	source, err := static.New([]string{"10.0.0.1", "10.0.0.2:8081"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(source)
	ctx, stop := context.WithCancel(context.Background())
	err = source.Run(ctx, func(m peers.Membership) {
		for _, pod := range m.Members {
			fmt.Println(pod.Addrs[0], "port", pod.Port)
		}
		stop()
	})
	fmt.Println(err)
	// Output:
	// static (2 addresses)
	// 10.0.0.1 port 0
	// 10.0.0.2 port 8081
	// context canceled
}
