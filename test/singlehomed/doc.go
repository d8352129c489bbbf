// Package singlehomed tests single-homed clients (pick_first, a ClusterIP) with real processes.
// They must spread evenly over the pods and then be left alone. The tests cover a balancer that
// picks pods at random, round_robin clients beside them, and pods that cannot reach each other.
//
// Tests that need only Go and loopback run with go test. The build tag interop adds those with
// the kernel's own balancing (nftables in a network namespace), haproxy, Node and Python.
// ../interop/run.sh installs these and runs all of it.
package singlehomed
