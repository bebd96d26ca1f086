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

// poll asks until the answer is yes; it returns ctx's error when that ends first.
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

// lockFile waits for the only lock on the file at path, which is created. Closing the file, or the end of this process
// however it comes, gives it back. waiting is called once when somebody else has it.
func lockFile(ctx context.Context, path string, waiting func()) (*os.File, error) {
	var file *os.File
	var failed error
	told := false
	err := poll(ctx, func() bool {
		if file, failed = tryLock(path); file != nil || failed != nil {
			return true
		}
		if !told {
			told = true
			waiting()
		}
		return false
	})
	if err = errors.Join(failed, err); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}

// tryLock returns nil and no error when somebody else has the lock.
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
	// The holder before us may have removed the file: a lock on a file without a name keeps nobody out.
	if !named(file) {
		_ = file.Close()
		return nil, nil
	}
	return file, nil
}

// named tells whether the path that file was opened by still leads to it.
func named(file *os.File) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(file.Name())
	return err == nil && os.SameFile(held, now)
}

// lockFolder makes this process the only one with a server on dir.
func lockFolder(ctx context.Context, dir string) (*os.File, error) {
	bounded, cancel := context.WithTimeout(ctx, folderWithin)
	defer cancel()
	file, err := lockFile(bounded, filepath.Join(dir, lockName), func() {})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, ErrInUse
	}
	return file, err
}
