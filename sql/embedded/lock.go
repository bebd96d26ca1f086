package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const pollEvery = 10 * time.Millisecond

// poll waits until yes returns true; it returns ctx's error if that ends first.
func poll(ctx context.Context, yes func() bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !yes() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// lockFile waits for an exclusive lock on the file at path, which it creates. The lock ends when the file is closed or this
// process ends. waiting is called once if another process has it.
func lockFile(ctx context.Context, path string, waiting func()) (*os.File, error) {
	var file *os.File
	var failed error
	said := false
	err := poll(ctx, func() bool {
		if file, failed = tryLock(path); file != nil || failed != nil {
			return true
		}
		if !said {
			said = true
			waiting()
		}
		return false
	})
	if err = errors.Join(failed, err); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}

// tryLock returns nil without an error if another process has the lock.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			return nil, nil
		}
		return nil, err
	}
	// The previous owner may have removed the file: a lock on a removed file excludes no other process.
	if !named(file) {
		_ = file.Close()
		return nil, nil
	}
	return file, nil
}

// named returns whether the path of an open file still leads to it.
func named(file *os.File) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(file.Name())
	return err == nil && os.SameFile(held, now)
}

// lockFolder makes this the only process with a server on dir.
func lockFolder(ctx context.Context, dir string) (*os.File, error) {
	bounded, cancel := context.WithTimeout(ctx, folderWithin)
	defer cancel()
	file, err := lockFile(bounded, filepath.Join(dir, lockName), func() {})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, ErrInUse
	}
	return file, err
}
