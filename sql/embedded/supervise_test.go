package embedded

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServerThatLosesItsFirstSignalIsNotWaitedFor(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	// Like a starting server: a signal at that time has no effect.
	s, err := supervise(order{
		command: []string{"/bin/sh", "-c", `trap 'trap "exit 0" TERM' TERM; echo started; while :; do sleep 0.05; done`},
		input:   os.DevNull, log: log, grace: time.Minute,
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(log)
		return err == nil && string(text) == "started\n"
	}, 10*time.Second, time.Millisecond)

	begin := time.Now()
	s.release()
	<-s.ended

	assert.NoError(t, s.err)
	assert.Less(t, time.Since(begin), 20*time.Second)
}
