package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/knative"
)

// handle hands an event to a function, like the sources.
type handle = func(context.Context, event.Event) error

// chaos makes the sources inject faults, to show how the flow recovers. The rates are shares of the deliveries, from 0 to 1.
// Only flags set it: no request, no event and no variable can.
type chaos struct {
	text     string // the flag's text
	function string // the deployed name of the affected function; empty means all

	duplicate float64       // delivered twice
	delay     float64       // delivered late,
	delayed   time.Duration // by at most this
	drop      float64       // delivered, but the answer is lost, so the source delivers again
	fail      float64       // not delivered, answered like a failure of the function
	poison    float64       // not delivered, answered as poison: it becomes a dead letter
}

func (c *chaos) flags(flags *pflag.FlagSet) {
	flags.Func("chaos", "inject faults into deliveries: any of duplicate=`RATE`,delay=RATE:UP_TO,drop=RATE,fail=RATE,poison=RATE,\nwith rates from 0 to 1, as in duplicate=0.1,delay=0.2:50ms", c.parse)
	flags.StringVar(&c.function, "chaos-function", "", "the `function` whose deliveries get faults (default all)")
}

func (c *chaos) parse(text string) error {
	c.text = text
	for item := range strings.SplitSeq(text, ",") {
		kind, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		rates := map[string]*float64{"duplicate": &c.duplicate, "delay": &c.delay, "drop": &c.drop, "fail": &c.fail, "poison": &c.poison}
		rate := rates[kind]
		if rate == nil {
			return fmt.Errorf("%q is none of duplicate, delay, drop, fail and poison", kind)
		}
		if kind == "delay" {
			var upTo string
			value, upTo, _ = strings.Cut(value, ":")
			d, err := time.ParseDuration(upTo)
			if err != nil || d <= 0 {
				return errors.New("give delay=RATE:UP_TO, as in delay=0.2:50ms")
			}
			c.delayed = d
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || !(n >= 0 && n <= 1) { // NaN is neither
			return fmt.Errorf("the rate of %s is %q: give a number from 0 to 1", kind, value)
		}
		*rate = n
	}
	return nil
}

// check refuses a function without a source.
func (c *chaos) check(wiring *knative.Wiring) error {
	if c.function == "" {
		return nil
	}
	if c.text == "" {
		return errors.New("--chaos-function without --chaos: name the faults of its deliveries")
	}
	functions := consumerNames(wiring)
	if slices.Contains(functions, c.function) {
		return nil
	}
	return fmt.Errorf("--chaos-function %q: no source delivers to it, only to %s", c.function, strings.Join(functions, ", "))
}

// strikes returns whether a function gets faults.
func (c *chaos) strikes(function string) bool {
	return c.text != "" && (c.function == "" || c.function == function)
}

var (
	errDropped  = delivery.Result(errors.New("chaos: the function's answer was dropped"))
	errFailed   = delivery.Result(errors.New("chaos: failed on purpose"))
	errPoisoned = delivery.Result(delivery.Poison(errors.New("chaos: called poison on purpose")))
)

// around injects faults into the deliveries to a function, which then come one at a time.
func (c *chaos) around(to handle) handle {
	return func(ctx context.Context, e event.Event) error {
		if happens(c.delay) {
			late := time.NewTimer(rand.N(c.delayed))
			defer late.Stop()
			select {
			case <-late.C:
			case <-ctx.Done():
				return delivery.Result(ctx.Err())
			}
		}
		switch {
		case happens(c.poison):
			return errPoisoned
		case happens(c.fail):
			return errFailed
		}
		err := to(ctx, e)
		if happens(c.duplicate) {
			err = errors.Join(err, to(ctx, e))
		}
		if happens(c.drop) {
			return errDropped
		}
		return err
	}
}

func happens(rate float64) bool { return rand.Float64() < rate }
