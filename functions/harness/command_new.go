package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/scaffold"
	"example.com/orders/knative"
)

// prepareNewReaction adds the flags of new reaction.
func prepareNewReaction(flags *pflag.FlagSet) runner {
	r := scaffold.Reaction{Now: time.Now().Truncate(time.Second)}
	flags.StringVar(&r.On, "on", "", "`type` of the events that it reacts to, such as order.confirmed")
	flags.StringVar(&r.Emits, "emits", "", "`type` of the event that it emits, which is made too, such as points.awarded")
	flags.StringVar(&r.Schema, "schema", "", "`schema` whose inbox and outbox it uses (default that of the service that emits what it reacts to)")
	return func(_ context.Context, o options, out streams) error {
		r.Name, r.Overlay = o.name, o.overlay
		return newReaction(r, o, out)
	}
}

// leading says what leads to an event of a type, unless a plain order does.
var leading = map[string]string{
	events.OrderCanceledType:     "place an order and cancel it",
	events.InventoryReleasedType: "place an order and cancel it",
	events.OrderFailedType:       "order more units than there are",
	events.InventoryRejectedType: "order more units than there are",
}

// newReaction writes a reaction into the checkout that this process is in, and says what it wrote and what comes next.
func newReaction(r scaffold.Reaction, o options, out streams) error {
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	root, err := scaffold.Root(folder)
	if err != nil {
		return err
	}
	changes, err := r.Write(root)
	for _, c := range changes {
		did := "changed"
		if c.Made {
			did = "made"
		}
		fmt.Fprintf(out.stdout, "%-8s %s\n", did, c.Path)
	}
	if err != nil {
		return err
	}
	with := ""
	if o.overlay != "" && o.overlay != knative.BaseName {
		with = " --overlay " + o.overlay
	}
	fmt.Fprintf(out.stdout, `
Next:
  go test ./...               passes as it is
  go run ./functions/harness%s  at http://%s/orders %s; the page of the order says when %s has handled its %s
What the function does is yours to write, in %s.
`, with, o.addr, or(leading[r.On], "place an order"), r.Name, r.On, changes[0].Path)
	return nil
}
