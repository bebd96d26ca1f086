package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/settle"
	"example.com/orders/sql/schema"
)

// paymentsCommand is a command about payments, with its flags.
type paymentsCommand struct {
	operator

	states string
	limit  int
	all    bool
	asJSON bool

	as            string
	reference     string
	declineReason string
}

func paymentsList(flags *pflag.FlagSet) runner {
	var c paymentsCommand
	flags.StringVar(&c.states, "state", string(settle.Unknown), "only payments in these `states`: unknown (the gateway's answer is not recorded), authorized, declined, refunded, void (the order ended before money was held), or all")
	flags.IntVar(&c.limit, "limit", 100, "at most this `many` unknown ones, and this many others")
	flags.BoolVar(&c.asJSON, "json", false, "one JSON object per line")
	return c.with(c.list)
}

func paymentsShow(flags *pflag.FlagSet) runner {
	var c paymentsCommand
	flags.BoolVar(&c.asJSON, "json", false, "as JSON")
	return c.with(c.show)
}

func paymentsSettle(flags *pflag.FlagSet) runner {
	var c paymentsCommand
	flags.StringVar(&c.as, "as", "", "`what` became of the request: authorized or declined, of a refund refunded or nothing (was held)")
	flags.StringVar(&c.reference, "reference", "", "the gateway's `name` of the authorization or the refund")
	flags.StringVar(&c.declineReason, "decline-reason", "", "`why` it was declined, with which the order fails, such as card_declined")
	c.flags(flags)
	return c.with(c.settle)
}

func paymentsRetry(flags *pflag.FlagSet) runner {
	var c paymentsCommand
	flags.BoolVar(&c.all, "all", false, "all payments with an unknown outcome")
	c.flags(flags)
	return c.with(c.retry)
}

// with opens the schemas of payments and of operators, and passes them to do with the order that was named, if any.
func (c *paymentsCommand) with(do func(context.Context, streams, settle.Operator, string) error) runner {
	return func(ctx context.Context, o options, out streams) error {
		if o.name = strings.ToLower(o.name); o.name != "" && !events.ValidOrderID(o.name) {
			return usage(fmt.Errorf("%q is no order id: payments list prints them", o.name))
		}
		d, wiring, err := locateWired(o, needsDatabase)
		if err != nil {
			return err
		}
		if !wiring.HasPayments() {
			return usage(errors.New("this deployment has no payments: start the harness with --overlay payment (or HARNESS_OVERLAY=payment)"))
		}
		return d.withPools(ctx, out, func(pools *pools) error {
			var opened [2]*sql.DB
			for n, name := range []string{schema.Payments, schema.Operations} {
				if opened[n], err = pools.get(name); err != nil {
					return err
				}
			}
			return do(ctx, out, settle.Operator{DB: opened[0], Operations: opened[1], Actor: c.name(o)}, o.name)
		})
	}
}

func (c *paymentsCommand) list(ctx context.Context, out streams, desk settle.Operator, _ string) error {
	states, err := readStates(c.states, settle.States)
	if err != nil {
		return err
	}
	if c.limit < 1 {
		return usage(errors.New("--limit: give 1 or more"))
	}
	var found []settle.Payment
	if slices.Contains(states, settle.Unknown) {
		if found, err = settle.ListUnknown(ctx, desk.DB, settle.Begin, c.limit); err != nil {
			return err
		}
	}
	unknown := len(found)
	states = slices.DeleteFunc(slices.Clone(states), func(s settle.State) bool { return s == settle.Unknown })
	others, err := settle.ListNewest(ctx, desk.DB, states, settle.End, c.limit)
	if err != nil {
		return err
	}
	if unknown == c.limit || len(others) == c.limit {
		fmt.Fprintln(out.stderr, "there may be more payments: see --limit")
	}
	views := make([]paymentView, 0, unknown+len(others))
	for _, p := range append(found, others...) {
		views = append(views, newPaymentView(p, time.Now()))
	}
	if c.asJSON {
		return jsonLines(out.stdout, views)
	}
	return writePayments(out.stdout, views)
}

func (c *paymentsCommand) show(ctx context.Context, out streams, desk settle.Operator, order string) error {
	full, err := settle.Show(ctx, desk.DB, desk.Operations, order)
	if err != nil {
		return err
	}
	view := newFullPaymentView(full, time.Now())
	if c.asJSON {
		return jsonLines(out.stdout, []fullPaymentView{view})
	}
	view.write(out.stdout)
	return nil
}

func (c *paymentsCommand) settle(ctx context.Context, out streams, desk settle.Operator, order string) error {
	known := settle.Known{Status: gateway.Status(c.as), Reference: c.reference, Reason: c.declineReason}
	if c.as == "" {
		return usage(errors.New("say what became of the request: --as authorized, declined, refunded or nothing"))
	}
	if err := known.Check(); err != nil {
		return usage(fmt.Errorf("--as %w (--reference, --decline-reason)", err))
	}
	if c.dryRun {
		if err := desk.Plan(ctx, order, known); err != nil {
			return err
		}
		fmt.Fprintf(out.stdout, "%s would be %s\n", order, known.Does())
		return nil
	}
	if err := desk.Settle(ctx, order, known, c.reason); err != nil {
		return err
	}
	fmt.Fprintf(out.stdout, "%s is %s\n", order, known.Does())
	return nil
}

func (c *paymentsCommand) retry(ctx context.Context, out streams, desk settle.Operator, order string) error {
	const soon = "the gateway is asked at the next tick, within seconds"
	switch {
	case (order == "") == !c.all:
		return usage(errors.New("select payments: either an ORDER, or --all for all with an unknown outcome; use --dry-run first to see them"))
	case c.all && c.dryRun:
		waiting, err := settle.Count(ctx, desk.DB, math.MaxInt32)
		if err != nil {
			return err
		}
		n := waiting[settle.Authorize].Requests + waiting[settle.Refund].Requests
		fmt.Fprintf(out.stdout, "%s would be due\n", counted(n, "payment", "payments"))
		return nil
	case c.all:
		n, err := desk.RetryAll(ctx, c.reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(out.stdout, "%s due: %s\n", counted(n, "payment is", "payments are"), soon)
		return nil
	case c.dryRun:
		if err := desk.PlanRetry(ctx, order); err != nil {
			return err
		}
		fmt.Fprintf(out.stdout, "%s would be due\n", order)
		return nil
	}
	if err := desk.Retry(ctx, order, c.reason); err != nil {
		return err
	}
	fmt.Fprintf(out.stdout, "%s is due: %s\n", order, soon)
	return nil
}
