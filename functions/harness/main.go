// Command harness runs all functions in one process, with the wiring of the knative folder between them. Without
// configuration it runs its own Kafka and its own MySQL-compatible server.
//
// Each command is in a command_*.go. The other files are the server that the command up runs, and what commands and
// server share: options.go, and the file by which a command finds a running harness (runfile.go, reach.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	if err := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "harness:", err)
		os.Exit(1)
	}
}

const environment = `
More of the environment:
  MYSQL_DSN            the database server, user:password@tcp(host:3306)/ without a database;
                       not set: a private server in the data folder
  MYSQL_SCHEMA_PREFIX  stands before the names of the schemas
  MYSQL_MAX_CONNS      connections to each schema at most (default 8)
  KAFKA_BROKERS        host:port,host:port; not set: Kafka in this process, kept in the data folder
  KAFKA_TOPIC_PREFIX   stands before the names of the topics and of the consumer groups
  KAFKA_TLS            true to speak TLS with the brokers of KAFKA_BROKERS (SSL_CERT_DIR adds to who is trusted)
  KAFKA_SASL_MECHANISM PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with KAFKA_SASL_USER and KAFKA_SASL_PASSWORD
  SMTP_ADDR            host:port of a mail relay; not set: mails are lines of the log only
  SMTP_FROM            the sender's address (default orders@example.com)
  SMTP_TLS             starttls, implicit or none (the default)
  SMTP_USER            the login at the relay, with SMTP_PASSWORD; only with TLS
  CURRENCY             ISO 4217 code of all amounts (default EUR)
  SAGA_TIMEOUT         how long an order may be pending; overrides the manifest
  NO_PROXY             hosts, host,host, to which traces go straight when HTTP_PROXY is set
  OTEL_EXPORTER_OTLP_ENDPOINT  http://host:4318 to which traces go by OTLP over HTTP; not set: nothing is traced;
                       other variables of OpenTelemetry hold too, such as OTEL_SDK_DISABLED=true
  TRACE_URL            where the console finds a trace, with {trace} for its id: http://127.0.0.1:16686/trace/{trace}
  HTTP_PROXY           for traces only: functions, relays and KafkaSinks are reached without a proxy
  HARNESS_FAILPOINTS   for tests: FUNCTION.POINT=kill@N;… kills the process when it passes a point for the N-th time
`

// command is a subcommand of the program.
type command struct {
	name string // one word or two; after them NAME, when it takes one
	does string // for --help; empty for a command that is not for users
	// prepare adds the command's own flags to the common ones, and returns the func that runs it after parsing.
	prepare func(*flag.FlagSet) runner
}

// takesName tells whether the command takes a name beside its flags.
func (c command) takesName() bool { return strings.HasSuffix(c.name, takingName) }

const takingName = " NAME"

type runner func(ctx context.Context, o options, out streams) error

// streams are a command's outputs: results go to standard output, the log and remarks to standard error.
type streams struct{ stdout, stderr io.Writer }

// plain is a command without its own flags.
func plain(run runner) func(*flag.FlagSet) runner {
	return func(*flag.FlagSet) runner { return run }
}

// commands lists all commands; the first is the default.
func commands() []command {
	return []command{
		{"up", "start everything and serve until SIGINT or SIGTERM (the default)", prepareUp},
		{"health", "check the health of the harness on --addr or --data, and fail unless all of it works", plain(healthCommand)},
		{"bench", "place orders on a running harness, or on a new one, and report how fast it is", prepareBench},
		{"audit", "check the invariants of orders, stock and events, and fail if one is broken", prepareAudit},
		{"migrate", "create missing schemas, migrate them to the newest version, and exit", plain(migrateCommand)},
		{"deadletters list", "list dead letters with their state", lettersList},
		{"deadletters groups", "count dead letters by the function that failed and the reason", lettersGroups},
		{"deadletters show", "show a dead letter: its event, its failure, the actions on it", lettersShow},
		{"deadletters replay", "send dead letters again to the consumer that failed, and park those that fail too often", lettersReplay},
		{"deadletters correct", "send a corrected copy of a dead letter to the consumer that failed, and record both versions", lettersCorrect},
		{"deadletters park", "hold back open dead letters", lettersPark},
		{"deadletters discard", "give up dead letters", lettersDiscard},
		{"outbox list", "list the events that are not sent, with their errors", outboxList},
		{"outbox show", "show a row: its event, its errors, the actions on it", outboxShow},
		{"outbox requeue", "make parked rows due again", outboxRequeue},
		{"outbox discard", "give up parked rows: they are never sent, but stay visible", outboxDiscard},
		{"outbox purge", "delete the rows that were sent long ago", outboxPurge},
		{"new reaction NAME", "write a function that reacts to an event, with all that belongs to it, into this checkout", prepareNewReaction},
		{"function", "", prepareFunction},
		{"version", "print the version and the commit of the program", plain(versionCommand)},
	}
}

// find takes the command's name, one or two words, from the arguments.
func find(args []string) (c command, rest []string, err error) {
	all := commands()
	words := 0
	for words < len(args) && words < 2 && !strings.HasPrefix(args[words], "-") {
		words++
	}
	if len(args) > 0 && (args[0] == "--version" || args[0] == "-version") {
		args, words = append([]string{"version"}, args[1:]...), 1
	}
	if words == 0 {
		return all[0], args, nil
	}
	for n := words; n > 0; n-- {
		name := strings.Join(args[:n], " ")
		for _, c := range all {
			if strings.TrimSuffix(c.name, takingName) == name {
				return c, args[n:], nil
			}
		}
	}
	return c, nil, fmt.Errorf("unknown command %q: see harness --help", strings.Join(args[:words], " "))
}

func run(ctx context.Context, args []string, out streams) error {
	c, args, err := find(args)
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	start := c.prepare(flags)
	o, err := parseOptions(flags, c, args, out.stderr)
	if err != nil {
		return err
	}
	return start(ctx, o, out)
}

// help prints the usage: all commands, and the flags of one of them.
func help(w io.Writer, flags *flag.FlagSet, c command) {
	fmt.Fprint(w, "Usage: harness [command] [flags]\n\nRuns all functions of the order system in one process.\n\nCommands:\n")
	for _, each := range commands() {
		if each.does != "" {
			fmt.Fprintf(w, "  %-20s %s\n", each.name, each.does)
		}
	}
	fmt.Fprintf(w, "\nFlags of %s (the environment sets those with a variable in brackets):\n", c.name)
	flags.PrintDefaults()
	fmt.Fprint(w, environment)
}
