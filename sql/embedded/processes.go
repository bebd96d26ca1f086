package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server on one of our folders, or its supervisor.
type process struct {
	pid        int
	supervisor bool
}

// processesOn lists this user's processes that work on dir. It recognises them by their command line, which has
// --no-defaults and a data folder inside dir, so that a reused process id never matches.
func processesOn(dir string) []process {
	var found []process
	for pid, line := range commandLines() {
		if pid != os.Getpid() && strings.Contains(line, " --no-defaults ") && strings.Contains(line, "--datadir="+dir+"/") {
			found = append(found, process{pid: pid, supervisor: strings.Contains(line, supervisorName)})
		}
	}
	return found
}

// commandLines returns the command line of each of this user's processes, arguments joined by a space. Zombies have none.
func commandLines() map[int]string {
	lines := map[int]string{}
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(entries) == 0 {
		return psLines()
	}
	for _, entry := range entries {
		owner, err := os.Stat(filepath.Dir(entry))
		if err != nil {
			continue // it has ended meanwhile
		}
		if stat, ok := owner.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
			continue
		}
		line, err := os.ReadFile(entry)
		if err != nil || len(line) == 0 {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(entry))); err == nil {
			lines[pid] = string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
	return lines
}

// psLines is commandLines for systems without /proc.
func psLines() map[int]string {
	lines := map[int]string{}
	out, err := exec.Command("ps", "-axww", "-o", "pid=,uid=,command=").Output()
	if err != nil {
		return lines
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != strconv.Itoa(os.Geteuid()) {
			continue
		}
		if pid, err := strconv.Atoi(fields[0]); err == nil {
			lines[pid] = strings.TrimRight(line, "\n")
		}
	}
	return lines
}

// signalServers signals the servers on dir, not their supervisors: those end with them and clean up.
func signalServers(dir string, signal syscall.Signal) {
	for _, p := range processesOn(dir) {
		if !p.supervisor {
			_ = syscall.Kill(p.pid, signal)
		}
	}
}

// endServers returns when no server and no supervisor works on dir any more. It waits for one that is shutting down; it asks
// any other to shut down and, failing that, kills it.
func endServers(ctx context.Context, dir string) error {
	steps := []struct {
		patience time.Duration
		then     syscall.Signal
	}{{folderWithin, syscall.SIGTERM}, {shutdownWithin, syscall.SIGKILL}, {5 * time.Second, 0}}
	for _, step := range steps {
		bounded, cancel := context.WithTimeout(ctx, step.patience)
		err := poll(bounded, func() bool { return len(processesOn(dir)) == 0 })
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the former server on the folder to end: %w", ctx.Err())
		}
		if step.then != 0 {
			signalServers(dir, step.then)
		}
	}
	return errors.New("a former server works on the folder and cannot be ended: look for it in the list of processes and end it")
}
