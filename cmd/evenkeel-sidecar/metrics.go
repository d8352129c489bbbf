package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

var (
	descUp = prometheus.NewDesc("evenkeel_sidecar_upstream_up",
		"1 while the server behind the sidecar can be reached.", nil, nil)
	descRefused = prometheus.NewDesc("evenkeel_sidecar_refused_total",
		"Connections of clients that were refused because no connection to the upstream could be made.", nil, nil)
	descPassing = prometheus.NewDesc("evenkeel_sidecar_connections",
		"Open connections of clients by protocol: http2, or other for those that are only passed on.", []string{"protocol"}, nil)
)

// collector exports what only a sidecar has. evenkeel_connections and the others are the
// Balancer's.
type collector struct{ a *app }

// newRegistry returns a registry to which the Balancer's metrics are added.
func newRegistry(a *app) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{a}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// Describe sends the descriptions.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descUp
	ch <- descRefused
	ch <- descPassing
}

// Collect sends the values.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	up := 1.0
	if c.a.up.Err() != nil {
		up = 0
	}
	all, other := c.a.proxy.count()
	ch <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, up)
	ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(c.a.up.refused()))
	ch <- prometheus.MustNewConstMetric(descPassing, prometheus.GaugeValue, float64(all-other), "http2")
	ch <- prometheus.MustNewConstMetric(descPassing, prometheus.GaugeValue, float64(other), "other")
}
