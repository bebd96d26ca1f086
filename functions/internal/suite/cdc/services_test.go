package cdc

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// service is one of the servers that ".ci/run cdc" has started, with its script.
type service struct {
	*testing.T

	script, folder string
}

const root = "../../../.."

func serviceOf(t *testing.T, script, folder string) service {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, ".ci/.cache", folder, "pid"))
	require.NoError(t, err)
	require.Len(t, found, 1, "%s has started it from this checkout", script)
	return service{t, filepath.Join(root, ".ci/services", script), filepath.Dir(found[0])}
}

func (s service) signal(what syscall.Signal) (pid int) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.folder, "pid"))
	require.NoError(s, err)
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(s, err)
	require.NoError(s, syscall.Kill(pid, what))
	return pid
}

// freeze stops the server until the returned func is called.
func (s service) freeze() (thaw func()) {
	s.Helper()
	s.signal(syscall.SIGSTOP)
	thawed := false
	thaw = func() {
		if !thawed {
			thawed = true
			s.signal(syscall.SIGCONT)
		}
	}
	s.Cleanup(thaw)
	return thaw
}

func (s service) kill() {
	s.Helper()
	pid := s.signal(syscall.SIGKILL)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // its parent is not this test
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		require.True(s, time.Now().Before(end), "process %d has ended", pid)
	}
}

// start starts a killed server on its data.
func (s service) start() {
	s.Helper()
	command := exec.CommandContext(s.Context(), s.script, "start")
	out, err := command.CombinedOutput()
	require.NoError(s, err, "%s", out)
}
