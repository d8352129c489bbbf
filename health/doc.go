// Package health serves what people, kubelets, Prometheus and peers read.
//
// [Register] registers grpc.health.v1 on a gRPC server. The service reports NOT_SERVING as
// soon as the Balancer begins to shut down. [ListenAndServe] opens the health port:
//
//	/livez     200 as long as the process answers; depends on nothing else
//	/readyz    200, or 503 once the pod is stopping or a check fails; ?verbose lists every check
//	/metrics   Prometheus, with [WithMetrics] and package health/metrics; else 501
//	/statusz   everything as JSON; with ?text for a terminal
//	/peerz     the report that the other pods read
//	/          a page for people
//
// The port is read-only: no request changes anything. What it reveals is the names and
// addresses of pods. A caller of /peerz who knows a client's address also learns whether
// that client is connected, unless peers.salt or peers.tls is set.
//
// A stale view, peers that do not answer and a configuration that cannot be read are
// conditions. They never make a pod unready: a fleet must not go down because its balance
// is unknown.
package health
