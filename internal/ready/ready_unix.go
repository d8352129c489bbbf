//go:build unix

package ready

import (
	"io"
	"net"
	"syscall"

	"google.golang.org/grpc/mem"
)

// rawReader waits for a socket to become readable before it takes a buffer.
// Arguments and results are fields, so that the callback is allocated once per
// connection and not once per read.
type rawReader struct {
	raw  syscall.RawConn
	read func(fd uintptr) bool

	pool mem.BufferPool
	size int

	buf   *[]byte
	n     int
	errno syscall.Errno
}

// Of returns a Reader of a TCP or Unix socket. It returns nil unless nc is itself a socket. Other
// types may have a SyscallConn, too, but the bytes read through it need not be those that Read
// returns: TLS wrappers have one for channelz.
func Of(nc net.Conn) Reader {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawReader{raw: raw}
	r.read = r.tryRead
	return r
}

// tryRead returns false if there is nothing to read yet; it is called again once
// there is. It uses the standard syscall package as net does, because the race
// detector knows about the reads and writes of that package.
func (r *rawReader) tryRead(fd uintptr) bool {
	r.buf = r.pool.Get(r.size)
	n, err := syscall.Read(int(fd), *r.buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), *r.buf)
	}
	r.n, r.errno = max(n, 0), 0
	if err == nil {
		return true
	}
	r.pool.Put(r.buf)
	r.buf = nil
	r.errno, _ = err.(syscall.Errno) //nolint:errorlint // straight from read(2), not wrapped
	return r.errno != syscall.EAGAIN && r.errno != syscall.EWOULDBLOCK
}

// ReadOnReady returns either a buffer or an error. The error is io.EOF at the end of
// the stream.
func (r *rawReader) ReadOnReady(bufSize int, pool mem.BufferPool) (*[]byte, int, error) {
	r.pool, r.size = pool, bufSize
	err := r.raw.Read(r.read)
	buf, n, errno := r.buf, r.n, r.errno
	r.pool, r.buf, r.n, r.errno = nil, nil, 0, 0
	switch {
	case err == nil && errno != 0:
		err = errno
	case err == nil && n == 0:
		err = io.EOF
	}
	if err == nil {
		return buf, n, nil
	}
	if buf != nil {
		pool.Put(buf)
	}
	return nil, 0, err
}
