package bank

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"example.com/orders/functions/internal/function/gateway"
)

// ledger is the file of all entries: one line of JSON each, in order, never changed. Entries that come while the file is
// synced share the next sync.
type ledger struct {
	file durable
	now  func() time.Time

	mu      sync.Mutex
	filling *group // entries that wait for their turn, nil if there are none
	syncing *group // entries that are being written, nil if there are none
	err     error  // of the first group that could not be written: nothing is written after it
	closed  bool

	turn   chan struct{} // has an element while the writer has a reason to look
	ended  chan struct{} // closed when the writer has ended
	failed chan struct{} // closed when err is set
}

// durable is what a ledger needs of its file: what is written is safe once Sync has returned.
type durable interface {
	io.WriteCloser
	Sync() error
}

// group is entries that are written and synced together.
type group struct {
	lines []byte
	done  chan struct{} // closed once they are safe, or err is set
	err   error
}

// line is an entry as it is stored.
type line struct {
	gateway.Entry
	At time.Time `json:"at"`
}

// openLedger opens or creates the file at path, locks it against other processes, hands all entries in it to restore, and
// starts the writer. It cuts off a last line without its end: the process died while it wrote it, so nobody had an answer.
func openLedger(path string, restore func(gateway.Entry) error) (_ *ledger, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the ledger: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { // until the file is closed
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another process has the ledger %s: stop it, or give another file", path)
		}
		return nil, fmt.Errorf("lock the ledger %s: %w", path, err)
	}
	size, err := replay(file, restore)
	if err != nil {
		return nil, fmt.Errorf("read the ledger %s: %w", path, err)
	}
	if err := errors.Join(file.Truncate(size), file.Sync(), syncFolder(filepath.Dir(path))); err != nil {
		return nil, fmt.Errorf("make the ledger %s safe: %w", path, err)
	}
	return startLedger(file), nil
}

// startLedger starts the writer of a ledger.
func startLedger(file durable) *ledger {
	l := &ledger{file: file, now: time.Now, turn: make(chan struct{}, 1), ended: make(chan struct{}), failed: make(chan struct{})}
	go l.write()
	return l
}

// syncFolder makes the names of the files in a folder safe.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// replay reads all entries, and returns the length of the whole lines, in bytes.
func replay(file io.Reader, restore func(gateway.Entry) error) (size int64, err error) {
	reader := bufio.NewReader(file)
	for n := 1; ; n++ {
		text, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return size, nil // text has no end
		}
		if err != nil {
			return 0, err
		}
		var l line
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err = decoder.Decode(&l); err == nil {
			err = restore(l.Entry)
		}
		if err != nil {
			return 0, fmt.Errorf("line %d is damaged; repair it from a copy, or set the file aside to start an empty one: %w", n, err)
		}
		size += int64(len(text))
	}
}

// record appends an entry. It returns before the entry is safe: see kept.
func (l *ledger) record(e gateway.Entry) {
	text, err := json.Marshal(line{e, l.now().UTC()})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || l.closed {
		l.fail(errors.Join(err, errors.New("an entry could not be recorded")))
		return
	}
	if l.filling == nil {
		l.filling = &group{done: make(chan struct{})}
	}
	l.filling.lines = append(append(l.filling.lines, text...), '\n')
	l.wake()
}

// wake makes the writer look.
func (l *ledger) wake() {
	select {
	case l.turn <- struct{}{}:
	default:
	}
}

// fail notes the first error, under the lock.
func (l *ledger) fail(err error) {
	if l.err == nil {
		l.err = err
		close(l.failed)
	}
}

// kept returns once all entries so far are safe. It returns an error if they may never be.
func (l *ledger) kept(ctx context.Context) error {
	l.mu.Lock()
	last, err := l.filling, l.err
	if last == nil {
		last = l.syncing
	}
	l.mu.Unlock()
	if err != nil || last == nil {
		return err
	}
	select {
	case <-last.done:
		return last.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write writes one group after another until close.
func (l *ledger) write() {
	defer close(l.ended)
	for range l.turn {
		l.mu.Lock()
		g, err, closed := l.filling, l.err, l.closed
		l.filling, l.syncing = nil, g
		l.mu.Unlock()
		if g != nil {
			if err == nil {
				_, err = l.file.Write(g.lines)
			}
			if err == nil {
				err = l.file.Sync()
			}
			l.mu.Lock()
			if err != nil {
				// After a failed sync nobody knows what is on the disk until it is read again, at the next start.
				g.err = fmt.Errorf("write the ledger: %w", err)
				l.fail(g.err)
			}
			l.syncing = nil
			l.mu.Unlock()
			close(g.done)
		}
		if closed {
			return
		}
	}
}

// close writes what is left, and unlocks the file.
func (l *ledger) close() error {
	l.mu.Lock()
	l.closed = true
	l.wake()
	l.mu.Unlock()
	<-l.ended
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.file.Close())
}
