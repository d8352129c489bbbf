package fleet

import "syscall"

// ownGroup keeps Ctrl-C in a terminal from reaching the process past the one that
// started it, and has the kernel end it with that one.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
