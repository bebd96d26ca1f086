package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"example.com/orders/sql/embedded"
)

// dataFolder is the folder of persistent data. One harness at a time uses it.
type dataFolder struct {
	path      string
	ephemeral bool
	lock      *os.File
}

const lockName = "lock"

// openData creates the folder and locks it; the lock ends with this process however it ends.
func openData(o options) (*dataFolder, error) {
	path := o.data
	if o.ephemeral {
		var err error
		if path, err = os.MkdirTemp("", "orders-"); err != nil {
			return nil, fmt.Errorf("make a temporary data folder: %w", err)
		}
	}
	// The data contains the customers' addresses, and Kafka's files have their own modes.
	syscall.Umask(0o077)
	path, err := embedded.Private(path)
	if err != nil {
		return nil, fmt.Errorf("the data folder (--data): %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data folder: %w", err)
	}
	if err := take(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("the data folder %s is in use by %s: stop that one, or give another folder by --data", path, owner(path)), lock.Close())
	}
	if err := forget(path); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &dataFolder{path: path, ephemeral: o.ephemeral, lock: lock}, nil
}

// take takes the lock, or fails if another harness has it. A command that looks for a harness shares the lock briefly; take
// waits for that.
func take(lock *os.File) error {
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		// A harness holds it exclusively, so sharing it succeeds if only such commands hold it.
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
			return err
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// isFree returns whether no harness has the folder.
func isFree(path string) (bool, error) {
	lock, err := os.Open(filepath.Join(path, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a harness on %s: %w", path, err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) // released by Close
	if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
		return false, errors.Join(fmt.Errorf("look for a harness on %s: %w", path, err), lock.Close())
	}
	return err == nil, lock.Close()
}

// close unlocks the folder, and removes a temporary one.
func (d *dataFolder) close() error {
	err := forget(d.path)
	if d.ephemeral {
		err = os.RemoveAll(d.path)
	}
	return errors.Join(err, d.lock.Close())
}
