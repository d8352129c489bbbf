// Package rebalance decides which connections of a gRPC server leave, and when.
//
// A Balancer knows the live connections of one server, the pods that serve beside
// it, and whether DNS already answers clients with all of them. From that view
// and a config.Config it decides, in internal/plan, and acts, in one loop: Run.
//
//	bal, err := rebalance.New(cfg, rebalance.WithPeers(source))
//	srv := grpc.NewServer(serveropts.Options(bal)...)
//	go bal.Run(ctx)
//
// When it does not know (no peers, a view that is stale, DNS behind), it does
// nothing and says so: see Status.
//
// This package does not import client-go; peers/kube does.
package rebalance
