// Package metrics exports the status of a [rebalance.Balancer] to Prometheus.
//
// [Handler] is what /metrics of the health endpoint serves:
//
//	health.ListenAndServe(ctx, ":8080", bal, health.WithMetrics(metrics.Handler(bal)))
//
// [Collector] adds the same metrics to a registry of your own.
//
// The package is a module of its own, so that programs without Prometheus do not depend on
// its client library. Use the same version of it as of the root module.
package metrics
