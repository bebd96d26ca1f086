package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const about = `Runs all functions of the order system in one process, and operates it. Without a command it does what up does, by the
flags of up.

Results go to standard output, the log and remarks to standard error. The exit code is 0 for success; 1 for a finding, such
as a breach, or letters or rows that were left as they were, and for other failures; 2 for a command that was not
understood; 3 for a database, a Kafka or a harness that cannot be reached; 130 after SIGINT or SIGTERM, unless the command
could finish.`

const environment = `The environment sets flags, as the help of each command says, in brackets behind the flag. A flag stands before its
variable. These variables have no flag:

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
  HARNESS_FAILPOINTS   for tests: FUNCTION.POINT=kill@N;… kills the process when it passes a point for the N-th time`

func init() { cobra.AddTemplateFunc("brokenLines", brokenLines) }

// narrow makes cobra's usage template break the descriptions of flags into lines that fit the terminal.
func narrow(template string) string {
	const usages = ".FlagUsages | trimTrailingWhitespaces"
	return strings.NewReplacer(".LocalFlags"+usages, "brokenLines .LocalFlags", ".InheritedFlags"+usages, "brokenLines .InheritedFlags").Replace(template)
}

func brokenLines(flags *pflag.FlagSet) string {
	return strings.TrimRight(flags.FlagUsagesWrapped(helpWidth), "\n")
}

// helpWidth is the length of the lines of help, in columns.
const helpWidth = 100

// noArguments refuses words behind a command that takes none.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is not understood: %s takes flags only", args[0], c.CommandPath())
	}
	return nil
}

// oneName wants the NAME of what a command makes.
func oneName(c *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return fmt.Errorf("%s wants a NAME", c.CommandPath())
	case 1:
		return nil
	}
	return fmt.Errorf("%q is not understood: %s takes one NAME", args[1], c.CommandPath())
}

// noSuchCommand refuses a word that names none of the commands below c.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = nearEnough
	var near []string
	for _, name := range c.SuggestionsFor(args[0]) {
		near = append(near, c.CommandPath()+" "+name)
	}
	return mistyped{fmt.Errorf("unknown command %q", c.CommandPath()+" "+args[0]), near}
}

// flagError explains an error in the flags of c. An unknown command before them is the cause.
func flagError(c *cobra.Command, err error) error {
	if c.HasSubCommands() {
		if err := noSuchCommand(c, c.Flags().Args()); err != nil {
			return err
		}
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	name := unknown.GetSpecifiedName()
	if shorthands := unknown.GetSpecifiedShortnames(); shorthands != "" {
		name = shorthands // a long flag behind one dash
	}
	// cobra compares the names of commands only.
	names := &cobra.Command{SuggestionsMinimumDistance: nearEnough}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden || c.HasSubCommands() {
			names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	var near []string
	for _, one := range names.SuggestionsFor(name) {
		near = append(near, "--"+one)
	}
	return mistyped{err, near}
}

// nearEnough is how many letters a word may be from the one that is suggested.
const nearEnough = 2

// mistyped is an error about a word that may stand for another one.
type mistyped struct {
	error
	near []string
}

// hinted adds to an error of c's user where the help is, and last, as what stays on the screen, what may be meant.
func hinted(c *cobra.Command, err error) error {
	text := fmt.Sprintf("%v\nSee %s --help.", err, c.CommandPath())
	var m mistyped
	if errors.As(err, &m) && len(m.near) > 0 {
		text += "\n\nDid you mean this?\n  " + strings.Join(m.near, "\n  ")
	}
	return errors.New(text)
}

// strict makes cobra's own commands refuse what is no command.
func strict(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	c := named(root, "completion")
	c.Long, c.Short, c.Example = "", "print a script by which a shell completes commands and flags", "  source <(harness completion bash)"
	followed(c)

	root.InitDefaultHelpCmd()
	c = named(root, "help")
	c.Short, c.Example = "help about a command or about the environment", "  harness help deadletters replay\n  harness help environment"
	show := c.Run
	c.Run, c.RunE = nil, func(c *cobra.Command, args []string) error {
		if of, rest, _ := root.Find(args); len(rest) > 0 {
			return noSuchCommand(of, rest)
		}
		show(c, args)
		return nil
	}
}

func named(root *cobra.Command, name string) *cobra.Command {
	c, _, err := root.Find([]string{name})
	if err != nil {
		panic(err) // every name is written in this program
	}
	return c
}

// followed makes c refuse to run by itself, since it only has commands below it.
func followed(c *cobra.Command) {
	c.Args = noSuchCommand
	c.RunE = func(c *cobra.Command, _ []string) error {
		var names []string
		for _, below := range c.Commands() {
			names = append(names, below.Name())
		}
		return fmt.Errorf("%s is followed by one of %s", c.CommandPath(), strings.Join(names, ", "))
	}
}
