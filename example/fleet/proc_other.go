//go:build !linux

package fleet

import "syscall"

// ownGroup would keep Ctrl-C in a terminal from reaching a child process; only Linux
// has an implementation.
func ownGroup() *syscall.SysProcAttr { return nil }
