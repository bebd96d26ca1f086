package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/messaging/capture"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// settled is the age of the youngest row that resend looks at: the record of a younger one may be under way.
const settled = 5 * time.Second

// outboxResend repairs lost events from the rows that are left of them.
func outboxResend(flags *pflag.FlagSet) runner {
	var c outboxCommand
	var since time.Duration
	flags.StringVar(&c.schema, "schema", "", "only the outbox of this `schema`, such as orders")
	flags.DurationVar(&since, "since", 0, "look at the events of this `long`, such as 2h; the topics must still have those that were published")
	c.flags(flags)
	return func(ctx context.Context, o options, out streams) error {
		if since <= 0 {
			return usage(errors.New("give how far back to look with --since, such as 2h"))
		}
		d, names, err := c.locate(o, needsDatabase|needsKafka)
		if err != nil {
			return err
		}
		return d.withPoolsOf(ctx, out, privilege.Operator, func(s *servers, pools *pools) error {
			for _, name := range names {
				if err := c.resend(ctx, o, out, s, pools, name, time.Now().Add(-since)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func (c *outboxCommand) resend(ctx context.Context, o options, out streams, s *servers, pools *pools, name string, since time.Time) (err error) {
	db, err := pools.get(name)
	if err != nil {
		return err
	}
	record, err := pools.get(schema.Operations)
	if err != nil {
		return err
	}
	topics := &capture.Follower{DB: db, Brokers: s.brokers, Login: s.principal(kafka.Operator), TopicPrefix: s.config["KAFKA_TOPIC_PREFIX"], Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	defer func() { err = errors.Join(err, topics.Close()) }()
	missing, stored, err := topics.Missing(ctx, since, settled)
	if err != nil {
		return err
	}
	done := "due again"
	if c.dryRun {
		done = "missing"
		for _, row := range missing {
			fmt.Fprintf(out.stdout, "%s %d: %s of %s has no record\n", name, row.ID, row.Type, row.AggregateID)
		}
	} else if len(missing) > 0 {
		outbox := backlog.Operator{Schema: name, DB: db, Operations: record, Actor: c.name(o)}
		if _, err := outbox.Resend(ctx, topics, since, missing); err != nil {
			return err
		}
	}
	fmt.Fprintf(out.stdout, "%s: %d of %s %s\n", name, len(missing), counted(stored, "row", "rows"), done)
	return nil
}
