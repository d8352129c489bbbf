// Package fleet runs a small service on one machine: server and client processes
// on loopback addresses of their own, a DNS server that they ask, and the
// measuring of how even their load is. The demo and the tests are made of it.
//
// Everything it starts ends with the process that started it: by Close, and on
// Linux by the kernel should that process be killed.
package fleet
