package peers_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/evenkeel-go/evenkeel/peers"
)

// registry is a Source of one's own: it asks some registry of services for the pods.
type registry struct {
	service string
	lookup  func(ctx context.Context, service string) ([]instance, error)
}

// instance is one pod in the registry, which pods enter as soon as they start.
type instance struct {
	addr  netip.Addr
	ready bool
}

// Run reports the pods every two seconds, so that the view is renewed even without a change.
func (r *registry) Run(ctx context.Context, report func(peers.Membership)) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		all, err := r.lookup(ctx, r.service)
		view := peers.Membership{Err: err, StartingKnown: true}
		for _, one := range all {
			if one.ready {
				view.Members = append(view.Members, peers.Member{Addrs: []netip.Addr{one.addr}})
			} else {
				view.Starting++
			}
		}
		report(view)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (r *registry) String() string { return "registry " + r.service }

// A Balancer runs the Source; here the example runs it and prints its first report.
func ExampleSource() {
	var source peers.Source = &registry{
		service: "hello",
		lookup: func(context.Context, string) ([]instance, error) {
			return []instance{
				{netip.MustParseAddr("10.0.0.1"), true}, {netip.MustParseAddr("10.0.0.2"), true}, {netip.MustParseAddr("10.0.0.3"), false},
			}, nil
		},
	}
	ctx, stop := context.WithCancel(context.Background())
	err := source.Run(ctx, func(m peers.Membership) {
		for _, pod := range m.Members {
			fmt.Println(source, pod.Addrs[0])
		}
		fmt.Println(m.Starting, "more is starting")
		stop()
	})
	fmt.Println(err)
	// Output:
	// registry hello 10.0.0.1
	// registry hello 10.0.0.2
	// 1 more is starting
	// context canceled
}

// tunnel is a Source that reaches the pods through a proxy.
type tunnel struct {
	registry

	proxy func(ctx context.Context, target string) (net.Conn, error)
}

// DialPeer makes tunnel a Dialer.
func (t *tunnel) DialPeer(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	return t.proxy(ctx, addr.String())
}

// A Source that also implements Dialer makes the connections to the pods itself.
func ExampleDialer() {
	var source peers.Source = &tunnel{proxy: func(_ context.Context, target string) (net.Conn, error) {
		fmt.Println("connecting to", target)
		conn, _ := net.Pipe()
		return conn, nil
	}}
	if d, ok := source.(peers.Dialer); ok {
		conn, err := d.DialPeer(context.Background(), netip.MustParseAddrPort("10.0.0.1:8080"))
		fmt.Println(conn != nil, err)
	}
	// Output:
	// connecting to 10.0.0.1:8080
	// true <nil>
}
