// Package faults tests clients of servers that drain them while the network between both is bad:
// slow, lossy, narrow, or gone. Servers and clients have real TCP stacks, each side in a network
// namespace of its own; package link passes the packets. See README.md.
//
// The tests have the build tag interop, since they need root, /dev/net/tun, and the clients
// in other languages that ../interop/run.sh builds.
package faults
