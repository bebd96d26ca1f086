package bench

import (
	"syscall"
	"time"
)

// nap sleeps by the kernel's clock, or less if a signal arrives.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // the caller checks the clock again
}
