// Package bench measures a stack under load. It places orders over HTTP and reads their ends from Kafka, like customers and
// consumers, and returns a Report.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/sql/schema"
)

// Target is the stack under test.
type Target struct {
	// APIs are the base URLs of its REST APIs and functions, like http://127.0.0.1:8080, one per harness that shares the
	// load.
	APIs        []string
	Brokers     []string
	TopicPrefix string
	// Principals are as whom its relays and sources log in to Kafka; nil if all log in as one.
	Principals []kafka.Principal
	Server     schema.Server
	// Outboxes names the schemas with an outbox.
	Outboxes []string
	// MaxConns is the maximum number of connections of each harness to each schema.
	MaxConns int
	// Processes are the harnesses, and functions in their own processes, if they are on this machine; without them the report
	// has no CPU and memory.
	Processes []Process
	// Logs are the files with the logs of the harnesses, and of functions in their own processes, in JSON. Without them the report
	// does not say when confirmations were committed.
	Logs []string
	// Token is that of an operator where people log in; nil elsewhere. Orders then have the prices of the catalogue, in Currency.
	Token    *identity.Token
	Currency string
	// Started is whether it was started for this run, with new tables and topics.
	Started bool
}

// Process is a process of the stack whose CPU time and memory are measured.
type Process struct {
	// Function is the deployed name of the function that it runs, empty for a harness.
	Function string
	PID      int
}

// connections returns the number of connections of all harnesses to each schema, which the floor uses, too.
func (t Target) connections() int { return t.MaxConns * len(t.APIs) }

// Options configures the load.
type Options struct {
	Orders int
	// Concurrency is the number of requests in flight: exactly in a closed loop, at most in an open one.
	Concurrency int
	// Rate is the orders per second of an open loop; 0 means a closed loop, in which each answer starts the next request.
	Rate float64
	// SKUs is the number of SKUs; Skew is the exponent of their Zipf distribution, 0 for uniform.
	SKUs int
	Skew float64
	// Lines is the number of lines of an order, of different SKUs as far as possible.
	Lines int
	// Seed makes the choice of SKUs repeatable.
	Seed uint64
	// Warmup is the number of orders that are placed and finished before the measurement.
	Warmup int
	// Floor is how long the best possible performance of the servers is measured, before and again after the load. 0 skips
	// it.
	Floor time.Duration
	// Patience is how long to wait for the next end of an order.
	Patience time.Duration
}

// Made says what a load makes in the stack.
func (o Options) Made() string {
	skus := skuName(0)
	if o.SKUs > 1 {
		skus += " to " + skuName(o.SKUs-1)
	}
	return fmt.Sprintf("the orders, by %s, and the SKUs, %s with %d units each,", customer, skus, level)
}

// bounds of the options.
const (
	maxOrders      = 10_000_000
	maxConcurrency = 10_000
	maxSKUs        = 1_000_000
	maxLines       = 100 // of an order, a bound of the API
)

// Validate names every option out of its bounds.
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
		errs = append(errs, fmt.Errorf("--rate %v: give orders per second up to 1000000, 0 for a closed loop", o.Rate))
	}
	if !(o.Skew >= 0 && o.Skew <= 10) {
		errs = append(errs, fmt.Errorf("--skew %v: give 0 (uniform) to 10", o.Skew))
	}
	if o.Floor < 0 || o.Patience <= 0 {
		errs = append(errs, errors.New("--floor-for and --patience: give times above zero"))
	}
	return errors.Join(errs...)
}

// ErrLost means that accepted orders did not end; the Report counts them.
var ErrLost = errors.New("accepted orders have not ended")

// Run adds the stock, warms up, and measures the floor, the load and the floor again. The Report is complete even if the
// error wraps ErrLost.
func Run(ctx context.Context, target Target, o Options, show *Progress) (_ *Report, err error) {
	r, end, err := start(ctx, target, o, show)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	return r.run(ctx)
}

// start connects to a stack; end disconnects.
func start(ctx context.Context, target Target, o Options, show *Progress) (_ *runner, end func() error, err error) {
	if err := o.Validate(); err != nil {
		return nil, nil, err
	}
	db, err := openDatabase(target)
	if err != nil {
		return nil, nil, err
	}
	alarm, err := newAlarm()
	if err != nil {
		return nil, nil, errors.Join(err, db.close())
	}
	r := &runner{target: target, options: o, show: show, database: db, client: newClient(o.Concurrency), until: alarm.until}
	if r.watch, err = watch(ctx, target.Brokers, target.TopicPrefix); err != nil {
		return nil, nil, errors.Join(err, alarm.close(), db.close())
	}
	return r, func() error { return errors.Join(r.watch.close(), alarm.close(), db.close()) }, nil
}

// runner is one run.
type runner struct {
	target   Target
	options  Options
	show     *Progress
	database database
	client   *http.Client
	watch    *watcher
	until    func(context.Context, time.Time) // waits until an order is due
}

// warm adds the stock and places the orders before the measurement.
func (r *runner) warm(ctx context.Context) (*shape, error) {
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
	return shape, nil
}

func (r *runner) run(ctx context.Context) (*Report, error) {
	o := r.options
	shape, err := r.warm(ctx)
	if err != nil {
		return nil, err
	}
	report := &Report{At: time.Now().UTC(), Machine: thisMachine(), Load: o.load()}
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

// measure runs the load and fills the report.
func (r *runner) measure(ctx context.Context, shape *shape, report *Report) error {
	before, err := r.database.counters(ctx)
	if err != nil {
		return err
	}
	marks, err := r.database.marks(ctx)
	if err != nil {
		return err
	}
	usage := startUsage(r.target.Processes)
	run, err := r.load(ctx, r.options, shape, usage)
	if err != nil && !errors.Is(err, ErrLost) {
		return err
	}
	report.Usage = usage.stop(run.confirmed())
	after, countErr := r.database.counters(ctx)
	if countErr != nil {
		return countErr
	}
	if err := run.readStored(r.target.Logs, r.watch.begin); err != nil {
		return err
	}
	report.fill(run)
	report.PerOrder = perOrder(before, after, run.ended())
	var outboxErr error
	if report.Outbox, outboxErr = r.database.outbox(ctx, marks); outboxErr != nil {
		return outboxErr
	}
	return err
}
