// Package servicetest kills, freezes and starts again the servers that a step of ".ci/run" has started from this checkout.
package servicetest

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

// Service is a running server, with the script that has started it.
type Service struct {
	testing.TB

	script, folder string
}

// Of returns the server of a script in .ci/services, by the pattern of the folder in .ci/.cache that has its files.
func Of(t testing.TB, script, folder string) Service {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(Root(t), ".ci/.cache", folder, "pid"))
	require.NoError(t, err)
	require.Len(t, found, 1, "%s has started it from this checkout", script)
	return In(t, script, filepath.Dir(found[0]))
}

// In is Of for a server with its files in another folder.
func In(t testing.TB, script, folder string) Service {
	t.Helper()
	return Service{t, Script(t, script), folder}
}

// Script returns the path of a script in .ci/services.
func Script(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(Root(t), ".ci/services", name)
}

// Root returns the folder of the checkout, above the one of the test.
func Root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(folder, ".ci/services")); err == nil {
			return folder
		}
		require.NotEqual(t, folder, filepath.Dir(folder), "no folder above that of the test has .ci/services")
		folder = filepath.Dir(folder)
	}
}

func (s Service) signal(what syscall.Signal) (pid int) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.folder, "pid"))
	require.NoError(s, err)
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(s, err)
	require.NoError(s, syscall.Kill(pid, what))
	return pid
}

// Freeze stops the server until the returned func is called, or the test ends.
func (s Service) Freeze() (thaw func()) {
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

// Kill ends the server with SIGKILL, and returns once it is gone.
func (s Service) Kill() {
	s.Helper()
	pid := s.signal(syscall.SIGKILL)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // its parent is not this test
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		require.True(s, time.Now().Before(end), "process %d has ended", pid)
	}
}

// Start starts a killed server on its data.
func (s Service) Start() {
	s.Helper()
	command := exec.CommandContext(s.Context(), s.script, "start")
	out, err := command.CombinedOutput()
	require.NoError(s, err, "%s", out)
}

// Log returns what the server has logged.
func (s Service) Log() string {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.folder, "server.log"))
	require.NoError(s, err)
	return string(text)
}
