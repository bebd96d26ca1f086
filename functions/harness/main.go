// Command harness runs all functions in one process, with the wiring of the knative folder between them. Without
// configuration it runs its own Kafka and its own MySQL-compatible server.
//
// commands.go lists the commands, and each is in a command_*.go. The other files are the server that the command up runs,
// and what commands and server share: options.go, and the file by which a command finds a running harness (runfile.go,
// reach.go).
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	if err := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		os.Exit(exitCode(err))
	}
}

// streams are a command's outputs: results go to standard output, the log and remarks to standard error.
type streams struct{ stdout, stderr io.Writer }

// run runs the command that the arguments name.
func run(ctx context.Context, args []string, out streams) error {
	p := newProgram(out)
	p.root.SetArgs(append([]string{}, args...)) // never nil, for which cobra takes those of the process
	c, err := p.root.ExecuteContextC(ctx)
	if err != nil && !p.started {
		return usage(hinted(c, err))
	}
	return err
}
