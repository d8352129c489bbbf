// Package health is what people, kubelets, Prometheus and peers look at.
//
// [Register] puts grpc.health.v1 on a gRPC server; it turns to NOT_SERVING by
// itself when the Balancer begins to shut down. [ListenAndServe] opens the
// health port:
//
//	/livez     200 as long as the process answers; depends on nothing else
//	/readyz    200, or 503 once the pod is stopping; ?verbose lists every check
//	/metrics   Prometheus; [Collector] puts the same into a registry of yours
//	/statusz   everything as JSON; ?text the same for a terminal
//	/peerz     what the other pods ask
//	/          a page for people
//
// Nothing on the port changes anything, so there is nothing to protect but
// what it tells: pod names and addresses; and whether a client is connected, to who knows
// its address and asks /peerz, unless peers.salt or peers.tls is set. A view that is
// stale, peers that are gone or a configuration that cannot be read are shown as
// conditions and never make a pod unready: a fleet must not go down because its
// balance is unknown.
package health
