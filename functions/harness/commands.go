package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// program is the tree of commands, with what they share.
type program struct {
	root    *cobra.Command
	options options
	out     streams
	started bool // a command has been understood and runs
}

// runner runs a command whose flags are parsed.
type runner func(ctx context.Context, o options, out streams) error

// plain is a command without its own flags.
func plain(run runner) func(*pflag.FlagSet) runner {
	return func(*pflag.FlagSet) runner { return run }
}

// Groups of commands in the help.
const (
	groupRun     = "run"
	groupOperate = "operate"
	groupWork    = "work"
	groupOther   = "other"
)

func newProgram(out streams) *program {
	p := &program{out: out, options: newOptions()}
	p.root = p.command(&cobra.Command{
		Use: "harness", Short: "run the order system, and operate it", Long: about,
		Example: `  harness                                 serve on http://127.0.0.1:8080 until SIGINT or SIGTERM
  harness up --ephemeral                  the same, on data that is removed at the end
  harness audit                           check the data of the harness that runs, or ran last
  harness deadletters replay --help       what a command does, and its flags`,
		Args: noSuchCommand, Version: versionText(),
		SilenceErrors: true, SilenceUsage: true,
	}, prepareUp(p.options.environ))
	root := p.root
	root.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = true }) // they are in the help of up
	p.options.flags(root.PersistentFlags())
	root.SetOut(out.stdout)
	root.SetErr(out.stderr)
	root.SetUsageTemplate(narrow(root.UsageTemplate()))
	root.SetVersionTemplate("{{.Version}}")
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run it:"},
		&cobra.Group{ID: groupOperate, Title: "Operate it:"},
		&cobra.Group{ID: groupWork, Title: "Work on it:"},
		&cobra.Group{ID: groupOther, Title: "Others:"},
	)
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	root.AddCommand(
		p.command(&cobra.Command{
			GroupID: groupRun, Use: "up", Short: "start everything and serve until SIGINT or SIGTERM (the default)", SuggestFor: []string{"start", "run", "serve"},
			Example: `  harness up --addr 127.0.0.1:8090 --data ./data
  harness up --chaos duplicate=0.1,delay=0.2:50ms,fail=0.1 --chaos-function notify
  MYSQL_DSN='root:secret@tcp(127.0.0.1:3306)/' KAFKA_BROKERS=127.0.0.1:9092 harness up`,
		}, prepareUp(p.options.environ)),
		p.command(&cobra.Command{
			GroupID: groupRun, Use: "health", Short: "check the health of the harness on --addr or --data, and fail unless all of it works",
			Example: `  harness health
  harness health --addr 127.0.0.1:8090`,
		}, plain(healthCommand)),
		p.command(&cobra.Command{
			GroupID: groupRun, Use: "bank", Short: "serve a payment gateway to develop and to test with, until SIGINT or SIGTERM",
			Long: bankHelp,
			Example: `  harness bank
  harness bank --addr 127.0.0.1:8086 --ledger ./ledger.jsonl --simulate decline=0.05,latency=20ms:5ms,unknown=0.01`,
		}, prepareBank(p.options.environ)),
		p.command(&cobra.Command{
			GroupID: groupRun, Use: "migrate", Short: "create missing schemas, migrate them to the newest version, make the database users, and exit",
			Example: `  harness migrate
  MYSQL_DSN='root:secret@tcp(127.0.0.1:3306)/' MYSQL_USERS_DIR=/run/secrets/mysql harness migrate
  MYSQL_DSN='root:secret@tcp(127.0.0.1:3306)/' harness migrate`,
		}, plain(migrateCommand)),
		p.command(&cobra.Command{
			GroupID: groupOperate, Use: "audit", Short: "check the invariants of orders, stock and events, and fail if one is broken",
			Example: `  harness audit
  harness audit --data ./data --grace 1m --json
  harness audit --since checkpoint`,
		}, prepareAudit),
		p.deadLetters(),
		p.outboxes(),
		p.cdc(),
		p.payments(),
		p.command(&cobra.Command{
			GroupID: groupOperate, Use: "forget", Short: "remove the address and the identity of a customer from all tables",
			Long: forgetHelp,
			Example: `  harness forget --email alice@example.com --dry-run
  harness forget --owner 'https://login.example.com/realms/shop 0190b6f2' --yes --reason 'asked for on 2026-11-29'`,
		}, prepareForget),
		p.schemas(),
		p.command(&cobra.Command{
			GroupID: groupOperate, Use: "principals", Short: "list who connects to Kafka and what for, or give them these rules", Long: principalsHelp,
			Example: `  harness principals --overlay payment
  harness principals --strimzi
  harness principals --apply`,
		}, preparePrincipals),
		p.command(&cobra.Command{
			GroupID: groupWork, Use: "bench", Short: "place orders on a running harness, or on a new one, and report how fast it is",
			Example: `  harness bench --orders 1000 --concurrency 16
  harness bench --rate 20 --orders 400 --floor --plot bench.svg`,
		}, prepareBench),
		p.command(&cobra.Command{
			GroupID: groupWork, Use: "asyncapi", Short: "describe the topics and events of the wiring as an AsyncAPI document",
			Example: `  harness asyncapi --overlay payment
  harness asyncapi --write`,
		}, prepareAsyncAPI),
		parent(&cobra.Command{GroupID: groupWork, Use: "new", Short: "write what a new function needs into this checkout"},
			p.command(&cobra.Command{
				Use: "reaction NAME", Short: "write a function that reacts to an event, with all that belongs to it, into this checkout", Args: oneName,
				Example: `  harness new reaction award-points --on order.confirmed --emits points.awarded`,
			}, prepareNewReaction)),
		p.command(&cobra.Command{Use: "function", Hidden: true}, prepareFunction),
		p.command(&cobra.Command{
			GroupID: groupOther, Use: "version", Short: "print the version and the commit of the program",
			Example: `  harness version`,
		}, plain(versionCommand)),
		&cobra.Command{Use: "environment", Short: "the environment variables that the commands read", Long: environment},
	)
	strict(root)
	p.complete(root)
	return p
}

func (p *program) deadLetters() *cobra.Command {
	return parent(
		&cobra.Command{
			GroupID: groupOperate, Use: "deadletters", Short: "list, group, show, replay, correct, park or discard dead letters",
			SuggestFor: []string{"letters", "dlq", "list", "groups", "show", "replay", "correct", "park", "discard"},
		},
		p.command(&cobra.Command{
			Use: "list", Short: "list dead letters with their state",
			Example: `  harness deadletters list --consumer reserve-stock
  harness deadletters list --state all --limit 0 --json`,
		}, lettersList),
		p.command(&cobra.Command{
			Use: "groups", Short: "count dead letters by the function that failed and the reason",
			Example: `  harness deadletters groups
  harness deadletters groups --consumer reserve-stock --state all`,
		}, lettersGroups),
		p.command(&cobra.Command{
			Use: "show", Short: "show a dead letter: its event, its failure, the actions on it",
			Example: `  harness deadletters show --topic order.created --partition 0 --offset 17`,
		}, lettersShow),
		p.command(&cobra.Command{
			Use: "replay", Short: "send dead letters again to the consumer that failed, and park those that fail too often",
			Example: `  harness deadletters replay --consumer reserve-stock --dry-run
  harness deadletters replay --consumer reserve-stock --reason 'the schema is repaired'`,
		}, lettersReplay),
		p.command(&cobra.Command{
			Use: "correct", Short: "send a corrected copy of a dead letter to the consumer that failed, and record both versions",
			Example: `  harness deadletters correct --topic order.created --partition 0 --offset 17 --value corrected.json --reason 'a quantity of 0'`,
		}, lettersCorrect),
		p.command(&cobra.Command{
			Use: "park", Short: "hold back open dead letters",
			Example: `  harness deadletters park --topic order.created --reason 'waits for a fix'`,
		}, lettersPark),
		p.command(&cobra.Command{
			Use: "discard", Short: "give up dead letters",
			Example: `  harness deadletters discard --order 0190b6f2-6a3c-7d1e-8000-000000000001 --reason 'a test order'`,
		}, lettersDiscard),
	)
}

func (p *program) outboxes() *cobra.Command {
	return parent(
		&cobra.Command{
			GroupID: groupOperate, Use: "outbox", Short: "list, show, requeue, resend, discard or purge the events in the outboxes",
			SuggestFor: []string{"outboxes", "list", "show", "requeue", "resend", "discard", "purge"},
		},
		p.command(&cobra.Command{
			Use: "list", Short: "list the events that are not sent, with their errors",
			Example: `  harness outbox list --state parked`,
		}, outboxList),
		p.command(&cobra.Command{
			Use: "show", Short: "show a row: its event, its errors, the actions on it",
			Example: `  harness outbox show --schema orders --id 17`,
		}, outboxShow),
		p.command(&cobra.Command{
			Use: "requeue", Short: "make parked rows due again",
			Example: `  harness outbox requeue --all --dry-run`,
		}, outboxRequeue),
		p.command(&cobra.Command{
			Use: "discard", Short: "give up parked rows: they are never sent, but stay visible",
			Example: `  harness outbox discard --schema orders --id 17,18 --reason 'sent by hand'`,
		}, outboxDiscard),
		p.command(&cobra.Command{
			Use: "resend", Short: "make the rows due again whose event is in no topic, as after a loss",
			Example: `  harness outbox resend --since 2h --dry-run
  harness outbox resend --since 2h --reason 'the binary log was purged'`,
		}, outboxResend),
		p.command(&cobra.Command{
			Use: "purge", Short: "delete the rows that were sent long ago",
			Example: `  harness outbox purge --older-than 192h --dry-run`,
		}, outboxPurge),
	)
}

func (p *program) payments() *cobra.Command {
	return parent(
		&cobra.Command{
			GroupID: groupOperate, Use: "payments", Short: "list, show, settle or retry payments (with --overlay payment)",
			SuggestFor: []string{"payment", "list", "show", "settle", "retry"},
		},
		p.command(&cobra.Command{
			Use: "list", Short: "list payments, those with an unknown outcome first",
			Example: `  harness payments list
  harness payments list --state declined,refunded --json`,
		}, paymentsList),
		p.command(&cobra.Command{
			Use: "show ORDER", Short: "show a payment: its request, what was held and returned, the actions on it", Args: oneOrder,
			Example: `  harness payments show 0190b6f2-6a3c-7d1e-8000-000000000001`,
		}, paymentsShow),
		p.command(&cobra.Command{
			Use: "settle ORDER", Short: "record what you know of the gateway about a payment with an unknown outcome", Args: oneOrder,
			Long: `Records what became of a request whose outcome is unknown, as if the gateway had answered so. It moves no money. What is
recorded first counts: a later answer, also of an attempt that is under way, is dropped, unless it shows money that has to
be returned. After a payment was settled as declined, the gateway is asked to return the money that it may hold after all.`,
			Example: `  harness payments settle 0190b6f2-6a3c-7d1e-8000-000000000001 --as authorized --reference ch_1 --dry-run
  harness payments settle 0190b6f2-6a3c-7d1e-8000-000000000001 --as declined --decline-reason card_declined --reason 'seen on its pages'`,
		}, paymentsSettle),
		p.command(&cobra.Command{
			Use: "retry ORDER", Short: "ask the gateway again now about payments with an unknown outcome", Args: orderOrAll,
			Example: `  harness payments retry 0190b6f2-6a3c-7d1e-8000-000000000001
  harness payments retry --all --reason 'the gateway is back'`,
		}, paymentsRetry),
	)
}

// command completes a command with its own flags, which prepare adds, and the func that prepare returns.
func (p *program) command(c *cobra.Command, prepare func(*pflag.FlagSet) runner) *cobra.Command {
	start := prepare(c.Flags())
	if c.Args == nil {
		c.Args = noArguments
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		o := p.options
		if err := o.check(c.Flags()); err != nil {
			return err
		}
		if len(args) > 0 {
			o.name = args[0]
		}
		p.started = true
		return start(c.Context(), o, p.out)
	}
	return c
}

// parent is a command that only has commands below it.
func parent(c *cobra.Command, below ...*cobra.Command) *cobra.Command {
	c.Example = below[0].Example
	c.AddCommand(below...)
	followed(c)
	return c
}
