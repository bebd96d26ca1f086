package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAHarnessThatStartsIsNotTakenForTheOneThatWasKilled(t *testing.T) {
	path := t.TempDir()
	killed, err := openData(options{data: path})
	require.NoError(t, err)
	require.NoError(t, writeRun(path, runFile{PID: 1, Addr: "127.0.0.1:1", Brokers: "127.0.0.1:2", DSN: "root@tcp(127.0.0.1:3)/"}))
	running, err := findRunning(path)
	require.NoError(t, err)
	require.NotNil(t, running)
	require.NoError(t, killed.lock.Close()) // like the end of a process, however it ends

	starting, err := openData(options{data: path})
	require.NoError(t, err)
	_, err = findRunning(path)
	assert.ErrorContains(t, err, "has not started yet")

	now := runFile{PID: 2, Addr: "127.0.0.1:4", Brokers: "127.0.0.1:5", DSN: "root@tcp(127.0.0.1:6)/"}
	require.NoError(t, writeRun(path, now))
	running, err = findRunning(path)
	require.NoError(t, err)
	assert.Equal(t, now, *running)
	require.NoError(t, starting.close())
	running, err = findRunning(path)
	require.NoError(t, err)
	assert.Nil(t, running)
}

func TestCommandsThatLookForAHarnessKeepNoneFromStarting(t *testing.T) {
	path := t.TempDir()
	ended := make(chan struct{})
	var looking sync.WaitGroup
	for range 4 {
		looking.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				_, err := isFree(path)
				assert.NoError(t, err)
			}
		})
	}
	defer looking.Wait()
	defer close(ended)
	for range 500 {
		started, err := openData(options{data: path})
		require.NoError(t, err)
		_, err = openData(options{data: path})
		require.ErrorContains(t, err, "in use by another harness that is starting, or by a command")
		require.NoError(t, started.close())
	}
}

// TestOnlyItsUserCanReadTheHarnessesFiles runs with a permissive umask on a folder that everybody can enter: only the
// harness itself protects the customers' addresses in Kafka, the outbox and the notifications.
func TestOnlyItsUserCanReadTheHarnessesFiles(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	require.NoError(t, os.Chmod(s.data, 0o777))
	p := s.up(t)
	o := p.place(t, "SKU-123", 1)
	p.awaitLog(t, "your order "+o.OrderID+" is CONFIRMED")
	p.stop(t)

	info, err := os.Stat(s.data)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	files := 0
	require.NoError(t, filepath.WalkDir(s.data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSocket != 0 { // the sockets of the databases are open, in a folder that is not
			return err
		}
		files++
		info, err := entry.Info()
		if err == nil {
			assert.Zero(t, info.Mode().Perm()&0o077, "%s is %s", path, info.Mode())
		}
		return err
	}))
	assert.Positive(t, files)
}

func TestDataFolderThatIsUsedForOtherThingsIsRefused(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, os.Chmod(path, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(path, "letter.txt"), nil, 0o644))

	_, err := openData(options{data: path})

	require.ErrorContains(t, err, "--data")
	assert.ErrorContains(t, err, "others can enter "+path)
}
