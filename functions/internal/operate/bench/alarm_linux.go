package bench

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm waits until precise times, by a timer of the kernel that Go's poller waits for as for a connection. Go's own timers are late
// by up to two milliseconds in an idle process, which waits for events in whole milliseconds. A thread that sleeps in a system call
// keeps its place among GOMAXPROCS for up to ten, so a few of them would hold up all requests.
type alarm struct {
	fd    int // of timer, whose method Fd would make it blocking
	timer *os.File
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return &alarm{fd, os.NewFile(uintptr(fd), "timer")}, nil
}

func (a *alarm) close() error { return a.timer.Close() }

// until waits until a time, or until ctx ends; after that the alarm is of no more use. It must not be called concurrently.
func (a *alarm) until(ctx context.Context, at time.Time) {
	stop := context.AfterFunc(ctx, func() { _ = a.timer.SetReadDeadline(time.Now()) })
	defer stop()
	var expirations [8]byte
	for d := time.Until(at); d > 0 && ctx.Err() == nil; d = time.Until(at) {
		if err := unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil); err != nil {
			sleep(ctx, d)
			continue
		}
		_, _ = a.timer.Read(expirations[:]) // the loop checks the clock
	}
}
