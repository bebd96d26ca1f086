package embedded

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed supervise.sh
var superviseScript string

// supervisorName is in the command line of every supervisor, and distinguishes it from its server.
const supervisorName = "orders-database-supervisor"

// order is the command of a supervisor.
type order struct {
	command   []string
	libraries string        // LD_LIBRARY_PATH of the command, empty to leave it alone
	input     string        // file for the command's standard input
	log       string        // file that the command's output is appended to
	grace     time.Duration // from TERM to KILL
	folder    string        // removed after the command, unless empty
	outside   string        // removed after the command, unless empty
}

// supervised is a command under a supervisor, which ends it when this process ends or releases it.
type supervised struct {
	pid      int // of the command
	log      string
	lifeline io.Closer // the supervisor's standard input
	letGo    sync.Once
	ended    chan struct{} // closed when the supervisor is gone
	err      error         // how the command ended; valid after ended
}

// supervise starts the command. It does not keep this process's standard output or error open, and runs in its own session,
// so that it gets no signals from this process's terminal.
func supervise(o order) (*supervised, error) {
	log, err := os.OpenFile(o.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	pidReader, pidWriter, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to the server's supervisor: %w", err)
	}
	defer pidReader.Close()
	arguments := []string{
		"-c", superviseScript, supervisorName,
		strconv.FormatInt(o.grace.Milliseconds()/100, 10), o.folder, o.outside, o.input, o.libraries,
	}
	cmd := exec.Command("/bin/sh", append(arguments, o.command...)...)
	cmd.Dir = "/"
	// The script needs rm and sleep, whatever this process's PATH is.
	cmd.Env = append(os.Environ(), "PATH="+strings.TrimPrefix(os.Getenv("PATH")+":/usr/bin:/bin", ":"),
		"UMASK=0600", "UMASK_DIR=0700") // for the files and folders that the server creates
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{pidWriter}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	lifeline, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	_ = pidWriter.Close()
	if err != nil {
		return nil, fmt.Errorf("run the server's supervisor: %w", err)
	}
	s := &supervised{log: o.log, lifeline: lifeline, ended: make(chan struct{})}
	go func() {
		s.err = cmd.Wait()
		s.release()
		close(s.ended)
	}()
	line, err := bufio.NewReader(pidReader).ReadString('\n')
	if err == nil {
		s.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		s.release()
		<-s.ended
		return nil, fmt.Errorf("run the server's supervisor: %w\n%s", errors.Join(err, s.err), s.tail())
	}
	return s, nil
}

// release lets the supervisor end the command; it does not wait for that.
func (s *supervised) release() { s.letGo.Do(func() { _ = s.lifeline.Close() }) }

// tail returns the end of the command's output, for an error message.
func (s *supervised) tail() string {
	const lines = 15
	text, err := os.ReadFile(s.log)
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	said := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(said) > lines {
		said = said[len(said)-lines:]
	}
	return "the end of " + s.log + ":\n" + strings.Join(said, "\n")
}
