// Package singlehomed proves, with real processes, that clients with one connection
// each (pick_first, a ClusterIP) become even over the pods and then are left alone:
// behind a balancer that chooses by chance, beside round_robin clients of several
// makes, and while the pods cannot hear each other.
//
// What needs nothing but Go and loopback runs with go test. With the build tag
// interop come the kernel's own balancing (nftables, in a network namespace of the
// test), haproxy, Node and Python; ../interop/run.sh installs those and runs it all.
package singlehomed
