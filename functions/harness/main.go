// Command harness runs all functions in one process, with the wiring of the knative folder acted out: on a laptop with
// nothing configured it brings its own Kafka and its own MySQL-compatible server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "harness:", err)
		os.Exit(1)
	}
}

const usage = `Usage: harness [command] [flags]

Runs all functions of the order system in one process.

Commands:
  up        start everything and serve until SIGINT or SIGTERM (the default)
  health    ask the harness on --addr how it is, and fail unless all of it can work
  migrate   create the schemas that a server lacks, bring them to the newest version, and end

Flags (each can be set by the environment variable in brackets):
`

const environment = `
More of the environment:
  MYSQL_DSN            the database server, user:password@tcp(host:3306)/ without a database;
                       not set: a private server in the data folder
  MYSQL_SCHEMA_PREFIX  stands before the names of the schemas
  MYSQL_MAX_CONNS      connections to each schema at most (default 8)
  KAFKA_BROKERS        host:port,host:port; not set: Kafka in this process, kept in the data folder
  KAFKA_TOPIC_PREFIX   stands before the names of the topics and of the consumer groups
  SMTP_ADDR            host:port of a mail relay; not set: mails are lines of the log only
  SMTP_FROM            the sender's address (default orders@example.com)
  CURRENCY             ISO 4217 code of all amounts (default EUR)
  SAGA_TIMEOUT         how long an order may be pending; overrides the manifest
`

// run is the program. stdout takes what a command is asked for, stderr the log and all that is about running.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	command := "up"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	o, err := parseOptions(command, args, stderr)
	if err != nil {
		return err
	}
	switch command {
	case "up":
		return up(ctx, o, stderr)
	case "health":
		return healthCommand(ctx, o, stdout)
	case "migrate":
		return migrateCommand(ctx, o, stdout, stderr)
	default:
		return fmt.Errorf("there is no command %q: see harness --help", command)
	}
}
