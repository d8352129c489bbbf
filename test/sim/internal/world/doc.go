// Package world simulates a fleet of pods that run the planning code that ships
// (internal/plan), the DNS, the endpoints and the kube-proxies between them and
// their clients, and the clients: discrete events in virtual time, the same for the
// same seed.
//
//	world.go     Config, the loop of events, the scripts that change the fleet
//	heap.go      what happens next
//	pod.go       a pod: its loop, its view, its polls, its DNS gate, its end
//	registry.go  what a pod knows of its connections, as internal/conns does
//	net.go       endpoints, DNS, caches, kube-proxies
//	client.go    clients, and what they do after a GOAWAY
//	load.go      request rates and weights
//	metrics.go   what is measured
package world
