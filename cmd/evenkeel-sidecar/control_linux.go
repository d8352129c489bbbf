package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
)

func listenControl(ctx context.Context, listen string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", controlName(listen))
}

// mayControl returns why the other end may not control the sidecar. A socket without a file has
// no permissions, and in a pod on the host's network every process of the node can see it.
func mayControl(nc net.Conn) error {
	unix, ok := nc.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("the connection is a %T", nc)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return err
	}
	var cred *syscall.Ucred
	var errCred error
	if err := raw.Control(func(fd uintptr) {
		cred, errCred = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	switch {
	case errCred != nil:
		return errCred
	case cred.Uid != 0 && int(cred.Uid) != os.Getuid():
		return fmt.Errorf("user %d is neither root nor the sidecar's user %d", cred.Uid, os.Getuid())
	}
	return nil
}
