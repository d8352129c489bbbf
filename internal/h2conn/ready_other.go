//go:build !unix

package h2conn

import "net"

// newRawReader returns nil, so that sockets are read into a buffer that is already
// there, as grpc-go does on such systems.
func newRawReader(net.Conn) readyReader { return nil }
