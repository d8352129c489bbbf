//go:build !unix

package h2conn

import "net"

// newRawReader returns nil: sockets are read with a buffer in hand, as grpc-go
// does on such systems.
func newRawReader(net.Conn) readyReader { return nil }
