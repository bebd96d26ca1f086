package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/knative"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// letterCommand is a command about dead letters, with its flags.
type letterCommand struct {
	operator

	topic, consumer, key string
	group                string
	partition, offset    int64
	states               string
	changes, all         bool
	limit                int
	asJSON               bool

	functionsURL string
	parkAfter    int
	timeout      time.Duration
}

// selecting adds the flags that select letters.
func (c *letterCommand) selecting(flags *pflag.FlagSet, states string, limit int) {
	flags.StringVar(&c.topic, "topic", "", "only letters of this `topic`, order.created or order.created.dlq")
	flags.Int64Var(&c.partition, "partition", -1, "only letters of this partition of the topic's dead letters, by its `number`")
	flags.Int64Var(&c.offset, "offset", -1, "only the letter at this `offset` of the partition")
	flags.StringVar(&c.consumer, "consumer", "", "only letters of this `function`, as it is deployed: reserve-stock")
	flags.StringVar(&c.key, "key", "", "only letters with this `key`, which is the order id")
	flags.StringVar(&c.group, "group", "", "only letters of this group, by its `id`, which deadletters groups prints")
	flags.StringVar(&c.key, "order", "", "the same as --key, by the order's `id`")
	flags.StringVar(&c.states, "state", states, "only letters in these `states`, of open, parked, discarded, replayed, or all")
	flags.IntVar(&c.limit, "limit", limit, "at most this `many` letters, 0 for all of them")
}

// changing adds the flags of a command that changes letters.
func (c *letterCommand) changing(flags *pflag.FlagSet, states string) {
	c.changes = true
	c.selecting(flags, states, 0)
	flags.BoolVar(&c.all, "all", false, "all letters in these states, without another selection")
	c.flags(flags)
}

// replaying adds the flags of a command that sends letters to functions.
func (c *letterCommand) replaying(flags *pflag.FlagSet) {
	c.changing(flags, string(deadletter.Open))
	flags.StringVar(&c.functionsURL, "functions-url", "", "`URL` of a function, with {consumer} for its name: http://{consumer}.orders.svc.cluster.local (default those of the harness that runs on --data) [FUNCTIONS_URL]")
	flags.IntVar(&c.parkAfter, "park-after", 3, "park a letter after this `many` replays that failed")
	flags.DurationVar(&c.timeout, "timeout", 30*time.Second, "how long a function may take for a letter")
}

func lettersList(flags *pflag.FlagSet) runner {
	var c letterCommand
	c.selecting(flags, "open,parked", 100)
	flags.BoolVar(&c.asJSON, "json", false, "one JSON object per line")
	return c.with(func(_ context.Context, _ letterBox, found []deadletter.Summary, out streams, _ *servers, _ options) error {
		return listLetters(out, found, c.limit, c.asJSON)
	})
}

func lettersGroups(flags *pflag.FlagSet) runner {
	var c letterCommand
	c.selecting(flags, string(deadletter.Open), 20)
	flags.BoolVar(&c.asJSON, "json", false, "one JSON object per line")
	return c.with(func(_ context.Context, _ letterBox, found []deadletter.Summary, out streams, _ *servers, _ options) error {
		return listGroups(out, deadletter.Groups(found), c.limit, c.asJSON)
	})
}

func lettersShow(flags *pflag.FlagSet) runner {
	var c letterCommand
	c.selecting(flags, "all", 10)
	flags.BoolVar(&c.asJSON, "json", false, "one JSON object per line")
	return c.with(func(ctx context.Context, box letterBox, found []deadletter.Summary, out streams, _ *servers, _ options) error {
		shown := few(out, found, c.limit)
		letters, err := box.Load(ctx, placesOf(shown))
		if err != nil {
			return err
		}
		return showLetters(out, inOrder(letters, shown), c.asJSON)
	})
}

func lettersReplay(flags *pflag.FlagSet) runner {
	var c letterCommand
	c.replaying(flags)
	return c.with(func(ctx context.Context, box letterBox, found []deadletter.Summary, out streams, s *servers, o options) error {
		r, err := c.replay(box, s, o)
		if err != nil {
			return err
		}
		return c.change(out, found, "replayed", func(l deadletter.Summary) (string, error) {
			to, err := r.URL(l)
			return " to " + to, err
		}, func(letters []deadletter.Summary, report deadletter.Report) error {
			r.Report = report
			return r.Run(ctx, letters)
		})
	})
}

func lettersPark(flags *pflag.FlagSet) runner {
	var c letterCommand
	c.changing(flags, string(deadletter.Open))
	return c.with(func(ctx context.Context, box letterBox, found []deadletter.Summary, out streams, _ *servers, _ options) error {
		return c.change(out, found, "parked", nil, func(letters []deadletter.Summary, report deadletter.Report) error {
			return box.journal.Park(ctx, letters, c.reason, report)
		})
	})
}

func lettersDiscard(flags *pflag.FlagSet) runner {
	var c letterCommand
	c.changing(flags, "open,parked")
	return c.with(func(ctx context.Context, box letterBox, found []deadletter.Summary, out streams, _ *servers, _ options) error {
		return c.change(out, found, "discarded", nil, func(letters []deadletter.Summary, report deadletter.Report) error {
			return box.journal.Discard(ctx, letters, c.reason, report)
		})
	})
}

// replay returns the replay of the flags.
func (c *letterCommand) replay(box letterBox, s *servers, o options) (r deadletter.Replay, err error) {
	if c.parkAfter < 1 {
		return r, usage(errors.New("--park-after: give 1 or more"))
	}
	to, err := c.functions(s, o)
	if err != nil {
		return r, err
	}
	token, err := functionsToken(s.config)
	if err != nil {
		return r, usage(err)
	}
	states, err := readStates(c.states, deadletter.States)
	return deadletter.Replay{
		Journal: box.journal, Load: box.Load, FunctionsURL: to, Token: token, ParkAfter: c.parkAfter, States: states, Timeout: c.timeout, Grace: replayGrace,
	}, err
}

// with finds the letters that the flags select, in the order of a replay, and passes them to do.
func (c *letterCommand) with(do func(context.Context, letterBox, []deadletter.Summary, streams, *servers, options) error) runner {
	return func(ctx context.Context, o options, out streams) (err error) {
		d, err := locate(o, needsDatabase|needsKafka)
		if err != nil {
			return err
		}
		selector, err := c.selector(d.config)
		if err != nil {
			return err
		}
		wiring, err := knative.Configured(d.config)
		if err != nil {
			return err
		}
		s, release, err := d.connect(ctx, out)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, release()) }()
		box, shut, err := openBox(ctx, s, wiring, c.name(o))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, shut()) }()
		found, err := box.Find(ctx, selector)
		if err != nil {
			return err
		}
		return do(ctx, box, slices.Concat(deadletter.Lanes(found)...), out, s, o)
	}
}

// letterBox is a box with the journal of the operator.
type letterBox struct {
	deadletter.Box

	journal *deadletter.Journal
}

func openBox(ctx context.Context, s *servers, wiring *knative.Wiring, actor string) (box letterBox, shut func() error, err error) {
	config, err := s.as(privilege.Operator)
	if err != nil {
		return box, nil, err
	}
	server, _, err := base.Server(config)
	if err != nil {
		return box, nil, err
	}
	db, err := server.Open(schema.Operations, 2)
	if err != nil {
		return box, nil, err
	}
	journal, err := deadletter.OpenJournal(ctx, db, actor)
	if err != nil {
		return box, nil, errors.Join(err, db.Close())
	}
	avro, err := registry.OpenReader(s.config)
	if err != nil {
		return box, nil, errors.Join(err, journal.Close(), db.Close())
	}
	reader, err := kafka.NewReader(s.brokers, s.principal(kafka.Operator))
	if err != nil {
		return box, nil, errors.Join(err, journal.Close(), db.Close())
	}
	shut = func() error { return errors.Join(reader.Close(), journal.Close(), db.Close()) }
	return letterBox{deadletter.Box{Reader: reader, Sources: wiring.Sources, Operations: db, Avro: avro}, journal}, shut, nil
}

// selector returns the selection of the flags.
func (c *letterCommand) selector(config map[string]string) (deadletter.Selector, error) {
	s := deadletter.Selector{Consumer: c.consumer, Key: c.key, Group: c.group}
	if c.changes && c.topic == "" && c.consumer == "" && c.key == "" && c.group == "" && !c.all {
		return s, usage(errors.New("select letters: by --topic, --consumer, --order, --group, or --all; with --dry-run first to see which they are"))
	}
	var err error
	if s.States, err = readStates(c.states, deadletter.States); err != nil {
		return s, err
	}
	if c.topic != "" {
		prefix := config["KAFKA_TOPIC_PREFIX"]
		s.Topic = prefix + strings.TrimSuffix(strings.TrimPrefix(c.topic, prefix), knative.DeadLetterSuffix) + knative.DeadLetterSuffix
	}
	if c.offset >= 0 && c.partition < 0 || c.partition >= 0 && c.topic == "" {
		return s, usage(errors.New("an --offset belongs to a --partition, and a --partition to a --topic: give those too"))
	}
	if c.partition >= 0 {
		partition := int32(c.partition)
		s.Partition = &partition
	}
	if c.offset >= 0 {
		s.Offset = &c.offset
	}
	return s, nil
}

// functions returns the URL template of the functions.
func (c *letterCommand) functions(s *servers, o options) (string, error) {
	to := or(c.functionsURL, o.environ["FUNCTIONS_URL"])
	if own := s.api + "/functions/{consumer}"; s.api != "" && c.functionsURL == "" {
		if to != "" && to != own {
			return "", usage(fmt.Errorf("FUNCTIONS_URL is %q, and the functions of the harness on %s are at %s: unset it, or name the functions with --functions-url", to, o.data, own))
		}
		to = own
	}
	if to == "" {
		return "", unreachable(fmt.Errorf("no harness is running on %s: give their address with --functions-url, such as http://{consumer}.orders.svc.cluster.local", o.data))
	}
	u, err := url.Parse(strings.ReplaceAll(to, "{consumer}", "consumer"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.Contains(to, "{consumer}") {
		return "", usage(fmt.Errorf("--functions-url %q: give an http or https URL with {consumer} in place of the function's name", to))
	}
	return to, nil
}
