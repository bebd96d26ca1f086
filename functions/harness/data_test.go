package main

import (
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
	require.NoError(t, killed.lock.Close()) // as the end of a process does, however it ends

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
