// Package fleet runs a small service on one machine: server and client processes on
// loopback addresses of their own, and a DNS server for them. It also measures how
// even their load is. The demo and many tests are built on it.
//
// The caller ends what it started, with Stop, Kill and Close. On Linux the kernel
// kills the processes should the caller be killed itself.
package fleet
