package dns_test

import (
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/evenkeel-go/evenkeel/peers/dns"
)

// The example does not run the source, as the name exists only within a cluster.
func ExampleNew() {
	source, err := dns.New(dns.Options{
		Name:   "hello-headless.shop.svc.cluster.local.",
		Logger: slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(source)
	// Output: dns hello-headless.shop.svc.cluster.local.
}

// The error has every mistake at once.
func ExampleNew_mistakes() {
	_, err := dns.New(dns.Options{Interval: time.Millisecond, Server: "10.0.0.10:dns"})
	fmt.Println(err)
	// Output:
	// dns peers: the name is empty
	// interval 1ms is below 100ms
	// DNS server "10.0.0.10:dns": port "dns" is not from 1 to 65535
}
