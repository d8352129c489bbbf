package pass

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Left reports whether the other end of a socket has ended or broken the connection, without
// reading from it.
func Left(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var left bool
	err = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}} //nolint:gosec // a descriptor
		n, err := unix.Poll(poll, 0)
		left = err == nil && n > 0
	})
	return err == nil && left
}
