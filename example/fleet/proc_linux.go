package fleet

import "syscall"

// ownGroup puts a process into a group of its own, so that Ctrl-C in a terminal
// reaches its parent only. The kernel kills the process when its parent ends.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
