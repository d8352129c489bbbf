// Package ready reads from sockets that may be idle for long, without a buffer while nothing
// comes.
package ready

import "google.golang.org/grpc/mem"

// Reader waits for data and only then takes a buffer. grpc-go recognizes a connection that
// needs no read buffer by this method.
type Reader interface {
	// ReadOnReady takes a buffer of bufSize from the pool once there is something to read, and
	// returns it with how much of it was filled. The caller puts the buffer back. If nothing was
	// read, the buffer is nil.
	ReadOnReady(bufSize int, pool mem.BufferPool) (*[]byte, int, error)
}
