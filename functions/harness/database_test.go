package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// killDatabase kills the private server of a harness once it has another pid than not, and returns its pid.
func (p *process) killDatabase(t *testing.T, not int) (pid int) {
	t.Helper()
	p.await(t, "its database runs", func() bool {
		text, err := os.ReadFile(filepath.Join(p.stack.data, "mysql", "server.pid"))
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && pid != not && syscall.Kill(pid, syscall.SIGKILL) == nil
	})
	return pid
}

func TestTheDatabaseThatIsKilledIsStartedAgain(t *testing.T) {
	if os.Getenv("MYSQL_DSN") != "" {
		t.Skip("is about the private database server: run without MYSQL_DSN")
	}
	p := newStack(t).up(t)
	before := p.place(t, "SKU-123", 1)
	p.killDatabase(t, 0)
	p.awaitLog(t, "the private database server runs again")
	p.await(t, "it is well", func() bool { return p.get(t, "/health", nil) == http.StatusOK })

	p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
	p.awaitStatus(t, before.OrderID, "CONFIRMED")
	p.audit(t)
	p.stop(t)
}

func TestADatabaseThatDoesNotStayEndsTheHarnessWithItsLog(t *testing.T) {
	if os.Getenv("MYSQL_DSN") != "" {
		t.Skip("is about the private database server: run without MYSQL_DSN")
	}
	p := newStack(t).up(t)
	killed := 0
	for range maxRestarts + 1 {
		killed = p.killDatabase(t, killed)
	}
	<-p.ended
	require.Error(t, p.err)
	log := p.log.String()
	assert.Equal(t, maxRestarts, strings.Count(log, "restarting it"))
	assert.Contains(t, log, "was started 5 times within 1m0s and has ended again")
	_, end, found := strings.Cut(log, "the end of "+filepath.Join(p.stack.data, "mysql", "server.log")+":\n")
	require.True(t, found)
	assert.Contains(t, end, "InnoDB", "its last lines")
	assert.NotContains(t, end, "bad connection", "what is closed is no news")
}
