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
as a breach, or letters, rows or payments that were left as they were, and for other failures; 2 for a command that was not
understood; 3 for a database, a Kafka or a harness that cannot be reached; 130 after SIGINT or SIGTERM, unless the command
could finish.`

const bankHelp = `Serves a payment gateway to develop and to test with. Its contract is the OpenAPI description at /openapi.json. It keeps
what it holds and returns in a ledger on disk before it answers.

The variable BANK_TOKEN sets the bearer token that callers must send; without it everybody may call, so that an address that
is not a loopback one needs --trust-network then. An amount whose last
two digits are 01 to 06 forces an outcome, unless the scenario has amounts=plain:

  01  declined as card_declined
  02  declined as insufficient_funds
  03  the first answer is lost, after the money has moved
  04  the first call fails, before anything has happened
  05  the first call fails, after the money has moved
  06  two seconds slow`

const schemasHelp = `Registers, lists or checks the Avro schemas of the events in the schema registry of SCHEMA_REGISTRY_URL.

A subject has the schemas of a topic, TOPIC-value, and is BACKWARD_TRANSITIVE: the newest schema can read what was written
with every one before it. Only this command registers schemas. A relay with EVENT_FORMAT=avro looks up those of its events,
and sends nothing before it has found them.`

const environment = `The environment sets flags, as the help of each command says, in brackets behind the flag. A flag stands before its
variable. These variables have no flag:

  MYSQL_DSN            the database server, user:password@tcp(host:3306)/ without a database;
                       not set: a private server in the data folder
  MYSQL_DSN_ORDERS     the server of the schema orders, and so MYSQL_DSN_INVENTORY, MYSQL_DSN_PAYMENTS, MYSQL_DSN_NOTIFICATIONS
                       and MYSQL_DSN_OPERATIONS; not set: that of MYSQL_DSN
  MYSQL_USERS_SECRET   makes a database user for each function and tool, with a password derived from
                       it and only the tables and verbs that it needs; MYSQL_USERS_DIR instead names a
                       folder with a file for each user that has its DSN
  MYSQL_SCHEMA_PREFIX  stands before the names of the schemas
  MYSQL_TLS_CA_FILE    PEM file of the authorities that may vouch for the database server, instead of the system's
  MYSQL_TLS_CERT_FILE  PEM file of a certificate to show it, with the key in MYSQL_TLS_KEY_FILE
  MYSQL_ALLOW_PLAINTEXT  true to reach a database on another machine without TLS that verifies it
  MYSQL_MAX_CONNS      connections to each schema at most (default 8)
  KAFKA_BROKERS        host:port,host:port; not set: Kafka in this process, kept in the data folder
  KAFKA_TOPIC_PREFIX   stands before the names of the topics and of the consumer groups
  KAFKA_TLS            true to speak TLS with the brokers of KAFKA_BROKERS (SSL_CERT_DIR adds to who is trusted)
  KAFKA_TLS_CA_FILE    PEM file of the authorities that may vouch for the brokers, instead of the system's
  KAFKA_TLS_CERT_FILE  PEM file of a certificate to show them, with the key in KAFKA_TLS_KEY_FILE
  KAFKA_SASL_MECHANISM PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with KAFKA_SASL_USER and KAFKA_SASL_PASSWORD
  KAFKA_USERS_SECRET   makes a principal for each relay and source, with a password derived from it and rules for its
                       own topics and group; KAFKA_SASL_USER is an administrator's then: see harness principals
  EVENT_FORMAT         json (the default) or avro: how relays write the data of events; functions read both
  SCHEMA_REGISTRY_URL  http://host:8081 of the schema registry that Avro needs, with SCHEMA_REGISTRY_USER and
                       SCHEMA_REGISTRY_PASSWORD if it requires a login: see harness schemas
  CONNECT_URL          http://host:8083 of the Kafka Connect whose connectors publish in the overlay cdc: see harness cdc
  CDC_MYSQL_USER       the user of the connectors, which harness cdc prepare creates with CDC_MYSQL_PASSWORD
  OUTBOX_CDC_PATIENCE  how old an event may be that no connector has published, before it is relayed (default 2m)
  SMTP_ADDR            host:port of a mail relay; not set: mails are lines of the log only
  SMTP_FROM            the sender's address (default orders@example.com)
  SMTP_TLS             starttls, implicit or none (the default)
  SMTP_USER            the login at the relay, with SMTP_PASSWORD; only with TLS
  SINK_TOKEN           what functions ask of those who post events to them; not set: nothing, or what the next ones say;
                       processes of --deployed take events from their harness alone, with a token of its own
  SINK_ISSUER          the issuer of the senders' tokens, as of a cluster, with SINK_AUDIENCE; SINK_SUBJECTS says who
                       may send, SINK_JWKS_URL where the keys are, SINK_CA_FILE whose certificate the issuer has
  FUNCTIONS_TOKEN      what deadletters replay sends to functions; not set: SINK_TOKEN, then HARNESS_TOKEN
  CURRENCY             ISO 4217 code of all amounts (default EUR)
  ORDER_CREATED_VERSION  1 or 2, the version of order.created that is emitted; overrides the manifests, which say 1
  RATE_LIMIT           requests per second of a client, its principal or else its address, and how many at once: 50/100;
                       not set: no limit
  RATE_LIMIT_WRITES    the same for requests that change something, which count in both
  TRUSTED_PROXIES      how many proxies in front append to X-Forwarded-For (default 0: it is not read)
  MAX_OPEN_ORDERS      how many orders of a customer may be PENDING at a time; not set: any number
  ADMIT_MAX_WAIT       how long an accepted order may take while more arrive than can be confirmed (default 1s, in the overlay
                       payment 5s); the others are refused with 503; 0: every order is accepted
  MAX_MAILS            how many mails an address gets within an hour; not set: any number
  MAIL_LINGER          how long a mail waits for others, to share their transactions (in the manifests 200ms)
  OUTBOX_DISPATCH      on, the default, or off: leave what was just committed to the relays, too
  SAGA_TIMEOUT         how long an order may be pending; overrides the manifest
  RETAIN_ORDERS        how long after its end an order says who placed it, such as 8760h; not set: for good
  RETAIN_NOTIFICATIONS  how long notifications are kept, longer than topics and dead letters (default 960h)
  PAYMENT_GATEWAY      simulated (in the process, the default) or http: who holds the money, in the overlay payment
  PAYMENT_GATEWAY_URL  http://host:8085 of a gateway, such as that of harness bank, with PAYMENT_GATEWAY_TOKEN if it
                       requires a token
  PAYMENT_GATEWAY_TIMEOUT  of each call to the gateway (default 3s)
  PAYMENT_GATEWAY_CALLS  calls to the gateway in flight at most, of each function (default 512)
  PAYMENT_SIMULATION   what a simulated gateway does, as --simulate of bank
  OIDC_ISSUER          https://host/realm of an identity provider (OpenID Connect): access tokens of it for OIDC_AUDIENCE say
                       who may do what; not set: everybody may do everything
  OIDC_ALGORITHMS      signatures of tokens to accept (default RS256,PS256,ES256,EdDSA)
  OIDC_ROLES_CLAIM     claim with the roles of a user, or the path to it, as realm_access.roles (default roles), in which
                       OIDC_OPERATOR_ROLE (default operator) is that of operators
  OIDC_CA_FILE         certificates in PEM that sign the provider's certificate, instead of the system's
  HARNESS_TOKEN        an operator's access token, for commands that call a harness at which people log in
  OIDC_CLIENT_ID       the console as a client of the identity provider, so that operators log in to it, with OIDC_CLIENT_SECRET
                       if it has a secret
  PUBLIC_URL           https://host at which browsers reach the harness: the provider leads back to PUBLIC_URL/login/callback
                       (default: that of --addr, if it is a loopback address)
  SESSION_IDLE         how long a log-in lasts without a request (default 1h), and SESSION_LIFE in all (default 12h)
  NO_PROXY             hosts, host,host, which traces and the log-in reach without the proxy of HTTP_PROXY
  OTEL_EXPORTER_OTLP_ENDPOINT  http://host:4318 to which traces go by OTLP over HTTP; not set: nothing is traced;
                       other variables of OpenTelemetry hold too, such as OTEL_SDK_DISABLED=true
  TRACE_URL            where the console finds a trace, with {trace} for its id: http://127.0.0.1:16686/trace/{trace}
  HARNESS_CA_FILE      PEM file of the authorities that may vouch for the harness, for commands that call one by HTTPS
  HTTP_PROXY           for traces and the identity provider only: functions, relays and KafkaSinks are reached without a proxy
  HARNESS_FAILPOINTS   for tests: FUNCTION.POINT=kill@N;… kills the process when it passes a point for the N-th time

A secret may be in a file instead, whose path is the variable with _FILE behind its name: MYSQL_DSN_FILE, MYSQL_DSN_ORDERS_FILE,
KAFKA_SASL_PASSWORD_FILE, SCHEMA_REGISTRY_PASSWORD_FILE, SMTP_PASSWORD_FILE, PAYMENT_GATEWAY_TOKEN_FILE, BANK_TOKEN_FILE and
so on. A new connection to the database reads its file again.`

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

// oneOrder wants the id of an order.
func oneOrder(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s wants the id of an ORDER", c.CommandPath())
	}
	return orderOrAll(c, args)
}

// orderOrAll takes the id of an order, or none.
func orderOrAll(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%q is not understood: %s takes one ORDER", args[1], c.CommandPath())
	}
	return nil
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
