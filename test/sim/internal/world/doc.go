// Package world simulates a fleet of pods and its clients. The pods run the shipped planning
// code (internal/plan). DNS, endpoints and kube-proxies between pods and clients are simulated
// too. A world is a sequence of discrete events in virtual time, and the same seed gives the
// same sequence.
//
//	world.go     Config, the event loop, the scripts that change the fleet
//	heap.go      the queue of events
//	pod.go       a pod: its loop, its view, its end
//	poll.go      what pods ask each other
//	gate.go      a pod's look at DNS
//	share.go     shares, warm-up, pods that the Service does not list, what a pod reports
//	flight.go    draining connections with open streams, and handlers that hang
//	registry.go  a pod's connections and their returns, modelled on internal/conns
//	net.go       endpoints, DNS, caches, kube-proxies
//	client.go    clients, and how they reconnect after a GOAWAY
//	shape.go     lives and bursts of clients, zones, streams that never end
//	mishap.go    what goes wrong: crashes, readiness that flips, outages, salts, overload
//	load.go      request rates and weights
//	metrics.go   what is measured on the way
//	outcome.go   Result: the measurements of a run
package world
