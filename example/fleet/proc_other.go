//go:build !linux

package fleet

import "syscall"

// ownGroup keeps Ctrl-C in a terminal from reaching the process past the one that
// started it.
func ownGroup() *syscall.SysProcAttr { return nil }
