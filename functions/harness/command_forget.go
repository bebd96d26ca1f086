package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/personal"
	"example.com/orders/sql/schema"
)

const forgetHelp = `Removes the address and the identity of a customer from all tables, and keeps the orders without them: the audit
stays clean. What other people wrote about the customer without the address stays, too. It looks through whole
tables and topics, which takes some time.

It refuses while one of the customer's orders is pending, has an event that is not sent or not handled, a payment
with an unknown outcome, or a dead letter that may be replayed, since each of these would bring the address back.
Ended or not, it can be repeated.

Kafka deletes its records by age only. The command lists the topics with records about the customer, and when the
last of these is gone at the latest, with the broker's default segment.ms of seven days.`

// forgetCommand is the command that forgets a customer, with its flags.
type forgetCommand struct {
	operator
	personal.Person

	yes bool
}

func prepareForget(flags *pflag.FlagSet) runner {
	var c forgetCommand
	flags.StringVar(&c.Email, "email", "", "the `address` of the customer; capital letters do not count")
	flags.StringVar(&c.Owner, "owner", "", "instead of it, the customer's identity: `ISSUER SUBJECT`, as their tokens have them, with a space between them")
	flags.BoolVar(&c.yes, "yes", false, "do it: it cannot be undone")
	c.flags(flags)
	return c.run
}

func (c *forgetCommand) check() error {
	if (c.Email == "") == (c.Owner == "") {
		return usage(errors.New("say who is forgotten: either --email or --owner"))
	}
	if c.Email != "" {
		if address, err := mail.ParseAddress(c.Email); err != nil || address.Address != c.Email {
			return usage(fmt.Errorf("--email %q: give a bare address, such as name@example.com", c.Email))
		}
	}
	if issuer, subject, both := strings.Cut(c.Owner, " "); c.Owner != "" && (!both || issuer == "" || subject == "") {
		return usage(fmt.Errorf("--owner %q: give the issuer and the subject of the customer's tokens, with a space between them", c.Owner))
	}
	if c.yes == c.dryRun {
		return usage(errors.New("add --dry-run to see what there is about the customer, then --yes to remove it, which cannot be undone"))
	}
	return nil
}

func (c *forgetCommand) run(ctx context.Context, o options, out streams) error {
	if err := c.check(); err != nil {
		return err
	}
	d, wiring, err := locateWired(o, needsDatabase|needsKafka)
	if err != nil {
		return err
	}
	// It changes all tables, which no database user of a function or tool may.
	return d.withPoolsOf(ctx, out, administrator, func(s *servers, pools *pools) (err error) {
		reader, err := kafka.NewReader(s.brokers, s.principal(kafka.Operator))
		if err != nil {
			return unreachable(err)
		}
		defer func() { err = errors.Join(err, reader.Close()) }()
		desk := personal.Desk{DB: map[string]*sql.DB{}, Reader: reader, Wiring: wiring, Actor: c.name(o)}
		for _, name := range schema.All {
			if desk.DB[name], err = pools.get(name); err != nil {
				return err
			}
		}
		return c.forget(ctx, out.stdout, desk)
	})
}

func (c *forgetCommand) forget(ctx context.Context, w io.Writer, desk personal.Desk) error {
	found, err := desk.Find(ctx, c.Person)
	if err != nil {
		return err
	}
	if len(found.UnderWay) > 0 {
		for _, why := range found.UnderWay {
			fmt.Fprintln(w, why)
		}
		return fmt.Errorf("nothing was removed: the customer was not forgotten, since %s, as listed; then repeat the command",
			counted(len(found.UnderWay), "thing has to be finished first", "things have to be finished first"))
	}
	rows, done := found.Rows, "would be changed"
	if c.yes {
		if rows, err = desk.Forget(ctx, c.Person, found, c.reason); err != nil {
			return err
		}
		done = "changed"
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(w, "%s: %s %s\n", name, counted(rows[name], "row", "rows"), done)
		total += rows[name]
	}
	fmt.Fprintf(w, "%s of %s %s\n", counted(total, "row", "rows"), counted(len(found.Orders), "order", "orders"), done)
	return kept(w, found.Topics)
}

// kept writes what stays in Kafka, and until when.
func kept(w io.Writer, topics []personal.Topic) error {
	if len(topics) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nKafka keeps what it has until it is too old:")
	row, flush := table(w, "TOPIC", "RECORDS", "NEWEST", "GONE BY")
	for _, t := range topics {
		row(t.Name, t.Records, t.Last.UTC().Format(time.DateOnly), t.GoneBy.UTC().Format(time.DateOnly))
	}
	return flush()
}
