package world

import (
	"syscall"
	"time"
	"unsafe"
)

// threadCPU is CLOCK_THREAD_CPUTIME_ID.
const threadCPU = 3

// busyTime returns the CPU time of this thread. Unlike the wall clock, it excludes other work
// of the machine.
func busyTime() time.Duration {
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadCPU, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}
