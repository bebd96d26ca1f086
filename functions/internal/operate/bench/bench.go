// Package bench measures a stack under load. Where the stack is and what load to put on it goes in; orders are placed
// over HTTP and their ends are read from Kafka, as customers and consumers do; a Report comes out.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/orders/sql/schema"
)

// Target is the stack that is measured.
type Target struct {
	// APIs are where its REST APIs and functions are, like http://127.0.0.1:8080: one for each of the harnesses that
	// share the load.
	APIs        []string
	Brokers     []string
	TopicPrefix string
	Server      schema.Server
	// Outboxes names the schemas with an outbox.
	Outboxes []string
	// MaxConns is how many connections each harness has to each schema at most.
	MaxConns int
	// PIDs are the harnesses' processes when they are on this machine; none leaves CPU and memory out of the report.
	PIDs []int
	// Started tells that it was started for this run, with new tables and topics.
	Started bool
}

// connections is how many all harnesses have to each schema at most, and so the floor.
func (t Target) connections() int { return t.MaxConns * len(t.APIs) }

// Options are the load.
type Options struct {
	Orders int
	// Concurrency is how many requests are under way at once: always in a closed loop, at most in an open one.
	Concurrency int
	// Rate is the orders a second of an open loop; 0 makes a closed loop, in which each answer starts the next request.
	Rate float64
	// SKUs is over how many SKUs the lines are spread; Skew is the exponent of their Zipf distribution, 0 for uniform.
	SKUs int
	Skew float64
	// Lines is how many lines an order has, of different SKUs as far as there are so many.
	Lines int
	// Seed makes the choice of the SKUs repeatable.
	Seed uint64
	// Warmup is how many orders are placed, and waited for, before anything is measured.
	Warmup int
	// Floor measures for this long what the servers do at best: before the load and after it. 0 leaves it out.
	Floor time.Duration
	// Patience is how long to wait for an end when none comes any more.
	Patience time.Duration
}

// bounds of the options.
const (
	maxOrders      = 10_000_000
	maxConcurrency = 10_000
	maxSKUs        = 1_000_000
	maxLines       = 100 // of an order, by the API
)

// Validate names every option that is out of its bounds.
func (o Options) Validate() error {
	var errs []error
	within := func(name string, value, low, high int) {
		if value < low || value > high {
			errs = append(errs, fmt.Errorf("--%s %d: give %d to %d", name, value, low, high))
		}
	}
	within("orders", o.Orders, 1, maxOrders)
	within("concurrency", o.Concurrency, 1, maxConcurrency)
	within("skus", o.SKUs, 1, maxSKUs)
	within("lines", o.Lines, 1, maxLines)
	within("warmup", o.Warmup, 0, maxOrders)
	if !(o.Rate >= 0 && o.Rate <= 1e6) {
		errs = append(errs, fmt.Errorf("--rate %v: give orders a second up to 1000000, 0 for a closed loop", o.Rate))
	}
	if !(o.Skew >= 0 && o.Skew <= 10) {
		errs = append(errs, fmt.Errorf("--skew %v: give 0 (uniform) to 10", o.Skew))
	}
	if o.Floor < 0 || o.Patience <= 0 {
		errs = append(errs, errors.New("--floor-for and --patience: give times above zero"))
	}
	return errors.Join(errs...)
}

// ErrLost is wrapped by the error of a run in which orders were accepted and did not end; the Report counts them.
var ErrLost = errors.New("accepted orders have not ended")

// Run puts the stock there, warms up, measures the floor, the load and the floor again. The Report is complete also
// with an error that wraps ErrLost.
func Run(ctx context.Context, target Target, o Options, show *Progress) (_ *Report, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	db, err := target.Server.Open("", 2)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // nothing is lost
	r := &runner{target: target, options: o, show: show, database: database{db, target.Server.Prefix, target.Outboxes}, client: newClient(o.Concurrency), until: precisely}
	r.watch, err = watch(ctx, target.Brokers, target.TopicPrefix)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.watch.close()) }()
	return r.run(ctx)
}

// runner is one run.
type runner struct {
	target   Target
	options  Options
	show     *Progress
	database database
	client   *http.Client
	watch    *watcher
	until    func(context.Context, time.Time) // waits for when an order is due
}

func (r *runner) run(ctx context.Context) (*Report, error) {
	o := r.options
	shape := newShape(o.SKUs, o.Skew, o.Lines, o.Seed)
	if err := r.stock(ctx, shape); err != nil {
		return nil, err
	}
	r.show.say("warming up with %d orders", o.Warmup)
	warmup := o
	warmup.Orders, warmup.Rate = o.Warmup, 0
	if _, err := r.load(ctx, warmup, shape, nil); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	report := &Report{At: time.Now().UTC(), Machine: thisMachine(), Load: o.load()}
	var err error
	if report.Stack, err = r.database.describe(ctx, r.target); err != nil {
		return nil, err
	}
	report.Stack.Partitions = r.watch.partitions
	if o.Floor > 0 {
		if report.Floor, err = r.floored(ctx, func() error { return r.measure(ctx, shape, report) }); err != nil && !errors.Is(err, ErrLost) {
			return nil, err
		}
	} else if err = r.measure(ctx, shape, report); err != nil && !errors.Is(err, ErrLost) {
		return nil, err
	}
	report.compare()
	return report, err
}

// measure puts the load on and fills the report with what it did.
func (r *runner) measure(ctx context.Context, shape *shape, report *Report) error {
	before, err := r.database.counters(ctx)
	if err != nil {
		return err
	}
	marks, err := r.database.marks(ctx)
	if err != nil {
		return err
	}
	usage := startUsage(r.target.PIDs)
	run, err := r.load(ctx, r.options, shape, usage)
	if err != nil && !errors.Is(err, ErrLost) {
		return err
	}
	report.Usage = usage.stop(run.confirmed())
	after, countErr := r.database.counters(ctx)
	if countErr != nil {
		return countErr
	}
	report.fill(run)
	report.PerOrder = perOrder(before, after, run.ended())
	var outboxErr error
	if report.Outbox, outboxErr = r.database.outbox(ctx, marks); outboxErr != nil {
		return outboxErr
	}
	return err
}
