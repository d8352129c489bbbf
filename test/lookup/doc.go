// Package lookup tests the DNS side of evenkeel against an independent DNS
// server, over real sockets. It has no code of its own.
package lookup
