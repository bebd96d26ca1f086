package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/sql/schema"
)

// outboxCommand is a command about outboxes, with its flags.
type outboxCommand struct {
	operator

	schema    string
	states    string
	ids       string
	after     int64
	limit     int
	all       bool
	asJSON    bool
	olderThan time.Duration
}

func outboxList(flags *pflag.FlagSet) runner {
	var c outboxCommand
	flags.StringVar(&c.schema, "schema", "", "only the outbox of this `schema`, such as orders")
	flags.StringVar(&c.states, "state", "parked,waiting,new", "only rows in these `states`: parked (refused for good), waiting (for the next attempt), new, sent, discarded, or all")
	flags.Int64Var(&c.after, "after", 0, "only rows after this `id`")
	flags.IntVar(&c.limit, "limit", 100, "at most this `many` rows of each state and schema")
	flags.BoolVar(&c.asJSON, "json", false, "one JSON object per line")
	return c.with(c.list)
}

func outboxShow(flags *pflag.FlagSet) runner {
	var c outboxCommand
	flags.StringVar(&c.schema, "schema", "", "the outbox of this `schema`, such as orders")
	flags.StringVar(&c.ids, "id", "", "the rows with these `ids`, separated by commas")
	flags.BoolVar(&c.asJSON, "json", false, "one JSON object per line")
	return c.with(c.show)
}

func outboxRequeue(flags *pflag.FlagSet) runner {
	var c outboxCommand
	c.changing(flags, "parked or discarded")
	return c.with(func(ctx context.Context, out streams, outboxes []backlog.Operator) error {
		return c.change(ctx, out, outboxes, "requeued", []backlog.State{backlog.Parked, backlog.Discarded}, backlog.Operator.Requeue)
	})
}

func outboxDiscard(flags *pflag.FlagSet) runner {
	var c outboxCommand
	c.changing(flags, "parked")
	return c.with(func(ctx context.Context, out streams, outboxes []backlog.Operator) error {
		return c.change(ctx, out, outboxes, "discarded", []backlog.State{backlog.Parked}, backlog.Operator.Discard)
	})
}

func outboxPurge(flags *pflag.FlagSet) runner {
	var c outboxCommand
	flags.StringVar(&c.schema, "schema", "", "only the outbox of this `schema`, such as orders")
	flags.DurationVar(&c.olderThan, "older-than", 0, "delete the rows that were sent longer ago than this, such as 192h; it must exceed the retention of the topics, or the audit misses the rows")
	c.flags(flags)
	return c.with(c.purge)
}

func (c *outboxCommand) changing(flags *pflag.FlagSet, states string) {
	flags.StringVar(&c.schema, "schema", "", "the outbox of this `schema`, such as orders")
	flags.StringVar(&c.ids, "id", "", "the rows with these `ids`, separated by commas; they are "+states)
	flags.BoolVar(&c.all, "all", false, "all parked rows")
	c.flags(flags)
}

// with opens the selected outboxes and passes them to do.
func (c *outboxCommand) with(do func(context.Context, streams, []backlog.Operator) error) runner {
	return func(ctx context.Context, o options, out streams) error {
		d, names, err := c.locate(o, needsDatabase)
		if err != nil {
			return err
		}
		return d.withPools(ctx, out, func(pools *pools) error {
			record, err := pools.get(schema.Operations)
			if err != nil {
				return err
			}
			var outboxes []backlog.Operator
			for _, name := range names {
				db, err := pools.get(name)
				if err != nil {
					return err
				}
				outboxes = append(outboxes, backlog.Operator{Schema: name, DB: db, Operations: record, Actor: c.name(o)})
			}
			return do(ctx, out, outboxes)
		})
	}
}

// locate finds the deployment, and the selected ones of its schemas with an outbox.
func (c *outboxCommand) locate(o options, needed need) (*deployment, []string, error) {
	d, wiring, err := locateWired(o, needed)
	if err != nil {
		return nil, nil, err
	}
	names := wiring.Outboxes()
	if c.schema == "" {
		return d, names, nil
	}
	if !slices.Contains(names, c.schema) {
		return nil, nil, usage(fmt.Errorf("--schema %q: give one of %s, which have an outbox", c.schema, strings.Join(names, ", ")))
	}
	return d, []string{c.schema}, nil
}

func (c *outboxCommand) list(ctx context.Context, out streams, outboxes []backlog.Operator) error {
	states, err := readStates(c.states, backlog.States)
	if err != nil {
		return err
	}
	if c.limit < 1 {
		return usage(errors.New("--limit: give 1 or more"))
	}
	var found []rowView
	for _, outbox := range outboxes {
		for _, state := range states {
			rows, err := outbox.List(ctx, state, c.after, c.limit)
			if err != nil {
				return err
			}
			if len(rows) == c.limit {
				fmt.Fprintf(out.stderr, "%s may have more %s rows: see --limit and --after\n", outbox.Schema, state)
			}
			for _, r := range rows {
				found = append(found, newRowView(outbox.Schema, r))
			}
		}
	}
	if c.asJSON {
		return jsonLines(out.stdout, found)
	}
	return writeRows(out.stdout, found)
}

// show writes everything about the rows with these ids, all in one schema's outbox.
func (c *outboxCommand) show(ctx context.Context, out streams, outboxes []backlog.Operator) error {
	ids, err := c.named()
	if err != nil {
		return err
	}
	if len(ids) == 0 || c.schema == "" {
		return usage(errors.New("select rows by --schema and --id: outbox list prints both"))
	}
	found := make([]fullRowView, len(ids))
	for i, id := range ids {
		full, err := outboxes[0].Show(ctx, id)
		if err != nil {
			return err
		}
		found[i] = newFullRowView(c.schema, full)
	}
	if c.asJSON {
		return jsonLines(out.stdout, found)
	}
	for i, row := range found {
		if i > 0 {
			fmt.Fprintln(out.stdout)
		}
		row.write(out.stdout)
	}
	return nil
}

// change changes the selected rows, or prints the change. Ids belong to one schema's outbox.
func (c *outboxCommand) change(ctx context.Context, out streams, outboxes []backlog.Operator, done string, from []backlog.State, do func(backlog.Operator, context.Context, int64, string) error) error {
	ids, err := c.named()
	if err != nil {
		return err
	}
	if (len(ids) == 0) == !c.all {
		return usage(errors.New("select rows: either by --schema and --id, or --all for all parked ones; use --dry-run first to see them"))
	}
	if len(ids) > 0 && c.schema == "" {
		return usage(errors.New("an --id belongs to one schema: give --schema too"))
	}
	changed, left := 0, 0
	one := func(outbox backlog.Operator, id int64) error {
		err := c.one(ctx, out, outbox, id, done, from, do)
		switch {
		case err == nil:
			changed++
		case errors.Is(err, backlog.ErrUnchanged):
			fmt.Fprintln(out.stdout, err)
			left++
		default:
			return err
		}
		return nil
	}
	for _, outbox := range outboxes {
		if err := each(ctx, outbox, ids, one); err != nil {
			return err
		}
	}
	if c.dryRun {
		done = "to be " + done
	}
	fmt.Fprintf(out.stdout, "%s %s\n", counted(changed, "row", "rows"), done)
	if left > 0 {
		return fmt.Errorf("%s not %s", counted(left, "row was", "rows were"), done)
	}
	return nil
}

// each calls do with the rows of these ids, or with all parked ones if there are none.
func each(ctx context.Context, outbox backlog.Operator, ids []int64, do func(backlog.Operator, int64) error) error {
	for _, id := range ids {
		if err := do(outbox, id); err != nil {
			return err
		}
	}
	const page = 500
	for after := int64(0); len(ids) == 0; {
		rows, err := outbox.List(ctx, backlog.Parked, after, page)
		if err != nil {
			return err
		}
		for _, row := range rows {
			after = row.ID
			if err := do(outbox, row.ID); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
	}
	return nil
}

func (c *outboxCommand) one(ctx context.Context, out streams, outbox backlog.Operator, id int64, done string, from []backlog.State, do func(backlog.Operator, context.Context, int64, string) error) error {
	if !c.dryRun {
		if err := do(outbox, ctx, id, c.reason); err != nil {
			return err
		}
		fmt.Fprintf(out.stdout, "%s %d: %s\n", outbox.Schema, id, done)
		return nil
	}
	row, err := outbox.Get(ctx, id)
	if err != nil {
		return err
	}
	if !slices.Contains(from, row.State) {
		return fmt.Errorf("%w: row %d of %s is %s", backlog.ErrUnchanged, id, outbox.Schema, row.State)
	}
	fmt.Fprintf(out.stdout, "%s %d: %s %s of %s would be %s\n", outbox.Schema, id, row.State, row.Type, row.AggregateID, done)
	return nil
}

// named parses --id.
func (c *outboxCommand) named() ([]int64, error) {
	if c.ids == "" {
		return nil, nil
	}
	var ids []int64
	for text := range strings.SplitSeq(c.ids, ",") {
		id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil || id < 1 {
			return nil, usage(fmt.Errorf("--id %q: give numbers separated by commas", c.ids))
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (c *outboxCommand) purge(ctx context.Context, out streams, outboxes []backlog.Operator) error {
	if c.olderThan <= 0 {
		return usage(errors.New("give the age with --older-than, such as 192h"))
	}
	before := time.Now().Add(-c.olderThan)
	for _, outbox := range outboxes {
		if c.dryRun {
			n, err := outbox.CountSent(ctx, before)
			if err != nil {
				return err
			}
			fmt.Fprintf(out.stdout, "%s: %s would be deleted\n", outbox.Schema, counted(n, "row", "rows"))
			continue
		}
		n, err := outbox.Purge(ctx, before)
		if err != nil {
			return err
		}
		fmt.Fprintf(out.stdout, "%s: %s deleted\n", outbox.Schema, counted(n, "row", "rows"))
	}
	return nil
}
