package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"example.com/orders/sql/embedded"
)

// benchMember is a harness that bench has started, as a process of its own so that the CPU of both can be told apart.
type benchMember struct {
	options options // by which other commands reach it

	cmd   *exec.Cmd
	ended chan struct{}
	err   error   // once ended is closed
	run   runFile // once it is ready
}

// Ports among which bench looks for a free one: below the range from which outgoing connections take theirs.
const firstBenchPort, benchPorts = 18080, 1000

const (
	benchStartWithin = 2 * time.Minute
	benchLog         = "harness.log"
)

// launchMember starts a harness on the data folder of o, and does not wait for it. Unlike an ephemeral one it keeps every
// commit.
func launchMember(o options, out streams) (*benchMember, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if o.addr, err = freeAddress(); err != nil {
		return nil, err
	}
	// While it is empty: the harness would refuse a folder that others can enter and that has the log in it.
	if o.data, err = embedded.Private(o.data); err != nil {
		return nil, fmt.Errorf("the data folder (--data): %w", err)
	}
	m := &benchMember{options: o, ended: make(chan struct{})}
	path := m.log()
	log, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("make the log of the harness: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	fmt.Fprintf(out.stderr, "starting a harness, its log is %s\n", path)
	m.cmd = exec.CommandContext(context.Background(), program, "up", "--addr", o.addr, "--data", o.data, "--ephemeral=false", "--log", "json", fmt.Sprintf("--pprof=%t", o.pprof), fmt.Sprintf("--deployed=%t", o.deployed))
	for name, value := range o.environ {
		if slices.Contains([]string{"HARNESS_OPS_ADDR", certVariable, keyVariable}, name) {
			continue // several cannot have one address, and this process calls them by HTTP
		}
		m.cmd.Env = append(m.cmd.Env, name+"="+value)
	}
	m.cmd.Stdout, m.cmd.Stderr = log, log
	// The signals of a terminal are for this process: a harness that gets them and then ours as well ends without draining.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a harness: %w", err)
	}
	if o.pprof {
		fmt.Fprintf(out.stderr, "profile the load by go tool pprof http://%s/debug/pprof/profile?seconds=10\n", o.addr)
		if o.deployed {
			fmt.Fprintln(out.stderr, "profile a function in the same way, at its address in that log")
		}
	}
	go func() {
		m.err = m.cmd.Wait()
		close(m.ended)
	}()
	return m, nil
}

func freeAddress() (string, error) {
	address, release, err := reserveAddress()
	if err == nil {
		release()
	}
	return address, err
}

// reserveAddress finds an address on which nobody listens. Until release no other harness finds it: the port is reserved by
// its namesake of UDP, which nothing here uses.
func reserveAddress() (address string, release func(), err error) {
	for range benchPorts {
		// Anywhere in the range: of two that start at once both would find the first port free.
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(firstBenchPort+rand.N(benchPorts)))
		reserved, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		if listener, err := net.Listen("tcp", address); err == nil && listener.Close() == nil {
			return address, func() { _ = reserved.Close() }, nil // nothing was sent
		}
		_ = reserved.Close()
	}
	return "", nil, fmt.Errorf("no port was found from %d to %d", firstBenchPort, firstBenchPort+benchPorts-1)
}

// await returns when the harness is ready.
func (m *benchMember) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, benchStartWithin)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-m.ended:
			return fmt.Errorf("the harness has ended: %w\n%s", m.err, m.logged())
		case <-ctx.Done():
			return fmt.Errorf("wait for the harness to be ready: %w\n%s", ctx.Err(), m.logged())
		case <-look.C:
		}
		if answers(ctx, "http://"+m.options.addr) {
			if run, err := readRun(m.options.data); err == nil && run.PID == m.cmd.Process.Pid {
				m.run = run
				return nil
			}
		}
	}
}

// logged is the end of the harness's log.
func (m *benchMember) logged() string { return tail(m.log()) }

// log is the file with its log.
func (m *benchMember) log() string { return filepath.Join(m.options.data, benchLog) }

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	const most = 2000
	return string(text[max(0, len(text)-most):])
}

// end stops the harness, and kills it when ctx ends first.
func (m *benchMember) end(ctx context.Context) error {
	var errs []error
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, fmt.Errorf("stop the harness: %w", err))
	}
	select {
	case <-m.ended:
	case <-ctx.Done():
		errs = append(errs, errors.New("the harness did not stop within a minute and was killed"), m.cmd.Process.Kill())
		<-m.ended
	}
	if m.err != nil {
		errs = append(errs, fmt.Errorf("the harness has ended badly: %w\n%s", m.err, m.logged()))
	}
	return errors.Join(errs...)
}
