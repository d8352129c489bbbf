// Package rebalance decides which connections of a gRPC server are drained, and when.
//
// A [Balancer] knows the live connections of the servers of one process, the other pods of
// the service, and whether DNS lists all of them. From that view and its configuration it
// decides and acts in one loop, [Balancer.Run]:
//
//	bal, err := rebalance.Load(config.Layers{File: "evenkeel.yaml"})
//	srv := grpc.NewServer(serveropts.Options(bal, creds)...)
//	go bal.Run(ctx)
//
// While it does not know enough (no peers, a stale view, DNS behind), it does nothing and
// reports the reason in its [Status].
//
// Handlers may call [Draining], [Drain] and [SetKey]. This package does not import
// client-go; the module peers/kube does.
package rebalance
