package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/messaging/poke"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// benchCommand is the command with its flags.
type benchCommand struct {
	flags    *pflag.FlagSet
	load     bench.Options
	floor    bool
	spans    time.Duration
	json     bool
	plot     string
	curve    bool
	each     time.Duration
	backlog  int
	beside   []int
	pprof    bool
	deployed bool
	running  bool
	size     benchSize
	past     bench.Past
}

// prepareBench adds the flags of bench.
func prepareBench(flags *pflag.FlagSet) runner {
	b := &benchCommand{flags: flags}
	flags.BoolVar(&b.running, "running", false, "measure the harness that runs on --data, or on --addr with the servers of MYSQL_DSN and KAFKA_BROKERS, where the orders stay, instead of a stack of its own")
	flags.IntVar(&b.load.Orders, "orders", 5000, "how many orders to place")
	flags.IntVar(&b.load.Concurrency, "concurrency", 0, "requests under way at once: 32 by default, or at most 256 with --rate, and 4096 with --curve")
	flags.Float64Var(&b.load.Rate, "rate", 0, "orders a second, whatever the answers take; 0 sends the next one after each answer")
	flags.IntVar(&b.load.SKUs, "skus", 1000, "over how many SKUs the lines are spread; 1 makes one hot SKU")
	flags.Float64Var(&b.load.Skew, "skew", 0, "`exponent` of the Zipf distribution of the SKUs, 0 for uniform")
	flags.IntVar(&b.load.Lines, "lines", 2, "lines an order")
	flags.Uint64Var(&b.load.Seed, "seed", 1, "chooses the SKUs, the same ones for the same seed")
	flags.IntVar(&b.load.Warmup, "warmup", 300, "orders that are placed before anything is measured")
	flags.DurationVar(&b.load.Patience, "patience", 30*time.Second, "give up when no order has ended for so long; with --backlog, in all")
	flags.BoolVar(&b.floor, "floor", false, "measure as well what the same servers do at best, before and after the load")
	flags.DurationVar(&b.spans, "floor-for", 3*time.Second, "how long each of the floor's measurements takes")
	flags.BoolVar(&b.json, "json", false, "write the report as JSON")
	flags.StringVar(&b.plot, "plot", "", "write throughput and latency, over time or with --curve over the offered load, to an SVG `file`")
	flags.BoolVar(&b.curve, "curve", false, "measure the capacity by --orders in a closed loop, and then open loops of 0.1 to 3 times the capacity")
	flags.DurationVar(&b.each, "curve-for", 10*time.Second, "how long each open loop of --curve takes")
	flags.IntVar(&b.backlog, "backlog", 0, "instead of orders: store so many `rows` in the outbox at once, or as many a second as --rate says, and measure how fast they are published")
	flags.IntSliceVar(&b.beside, "beside", nil, "count the CPU and the memory of these other `processes` as the harness's, such as that of Kafka Connect")
	flags.IntVar(&b.size.partitions, "partitions", 0, "partitions of each topic of the stack that is started (default what the manifests say)")
	flags.IntVar(&b.size.members, "members", 1, "harnesses that are started to share the load, the consumer groups and the outboxes; several need MYSQL_DSN and KAFKA_BROKERS")
	flags.IntVar(&b.past.Orders, "fill", 0, "write so many ended `orders`, with all that they leave in the tables and the topics, into the stack before it is started")
	flags.DurationVar(&b.past.Over, "fill-over", 7*24*time.Hour, "how long ago the first order of --fill was placed; the purge deletes what is older than its retention, such as outbox rows of more than 192h")
	flags.BoolVar(&b.deployed, "deployed", false, "let the harness that is started run each function as a process of its own behind HTTP, and post events to it as a KafkaSource does")
	flags.BoolVar(&b.pprof, "pprof", false, "let the harness that is started serve Go's profiles, and say where")
	return b.run
}

// run measures a stack that it starts, or the one that runs, and writes the report to standard output.
func (b *benchCommand) run(ctx context.Context, o options, out streams) (err error) {
	if b.load.Concurrency == 0 {
		b.load.Concurrency = 32
		switch {
		case b.curve:
			b.load.Concurrency = 4096
		case b.load.Rate > 0:
			b.load.Concurrency = 256
		}
	}
	if b.floor {
		b.load.Floor = b.spans
	}
	o.pprof, o.deployed = b.pprof, b.deployed
	if err := errors.Join(b.load.Validate(), b.validateSize()); err != nil {
		return usage(err)
	}
	show := bench.NewProgress(out.stderr)
	if b.past.Orders > 0 {
		b.size.fill = func(ctx context.Context, target bench.Target, sources []knative.KafkaSource) error {
			return bench.Fill(ctx, target, sources, b.past, b.load, show)
		}
	}
	target, err := b.target(ctx, o, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.release()) }()
	for _, pid := range b.beside {
		target.Processes = append(target.Processes, bench.Process{PID: pid})
	}
	if b.backlog != 0 {
		return b.drain(ctx, target, out, show)
	}
	defer fmt.Fprintf(out.stderr, "%s are in %s\n", b.load.Made(), target.where)
	begin := time.Now()
	if b.curve {
		return b.trace(ctx, target, out, show, begin)
	}
	report, err := bench.Run(ctx, target.Target, b.load, show)
	err = target.explained(ctx, err, begin)
	if report == nil {
		return err
	}
	fmt.Fprintln(out.stderr, "auditing")
	var auditErr error
	report.Audit, auditErr = auditSettled(ctx, target.servers.config)
	return errors.Join(err, auditErr, b.write(report, out), b.draw(report))
}

// trace measures a curve over the offered load.
func (b *benchCommand) trace(ctx context.Context, target *benchTarget, out streams, show *bench.Progress, begin time.Time) error {
	curve, err := bench.Trace(ctx, target.Target, b.load, b.each, show)
	err = target.explained(ctx, err, begin)
	if curve == nil {
		return err
	}
	fmt.Fprintln(out.stderr, "auditing")
	var auditErr error
	curve.Audit, auditErr = auditSettled(ctx, target.servers.config)
	return errors.Join(err, auditErr, b.write(curve, out), b.draw(curve))
}

// What the flags may ask for: more than one machine has use for.
const maxPartitions, maxMembers = 200, 32

func (b *benchCommand) validateSize() error {
	var errs []error
	if p := b.size.partitions; b.flags.Changed("partitions") && (p < 1 || p > maxPartitions) {
		errs = append(errs, fmt.Errorf("--partitions %d: give 1 to %d", p, maxPartitions))
	}
	if b.past.Orders != 0 {
		errs = append(errs, b.past.Validate())
	}
	if b.curve && (b.backlog != 0 || b.load.Rate > 0) {
		errs = append(errs, errors.New("--curve chooses its rates, and offers orders: leave --rate and --backlog out"))
	}
	if b.each <= 0 || b.each > time.Hour {
		errs = append(errs, fmt.Errorf("--curve-for %s: give up to 1h", b.each))
	}
	if m := b.size.members; m < 1 || m > maxMembers {
		errs = append(errs, fmt.Errorf("--members %d: give 1 to %d", m, maxMembers))
	}
	return errors.Join(errs...)
}

// settleWithin bounds the wait for what follows the end of an order, such as the mark that its event is sent.
const settleWithin = 10 * time.Second

// auditSettled audits until nothing is wrong, or until what is wrong cannot be news any more: its error says that then.
func auditSettled(ctx context.Context, config map[string]string) (*audit.Report, error) {
	o, err := audit.Configure(config, 0)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(settleWithin); ; {
		report, err := audit.Run(ctx, o)
		if err != nil {
			return nil, err
		}
		if report.Breaches() == 0 {
			return report, nil
		}
		if time.Now().After(deadline) {
			return report, fmt.Errorf("the auditor has found %s", counted(report.Breaches(), "breach", "breaches"))
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (b *benchCommand) drain(ctx context.Context, target *benchTarget, out streams, show *bench.Progress) error {
	token, err := functionsToken(target.servers.config)
	if err != nil {
		return usage(err)
	}
	wake, err := pokeAll(ctx, target.APIs, token)
	if err != nil {
		return err
	}
	result, err := bench.Drain(ctx, target.Target, b.backlog, b.load.Rate, b.load.Patience, wake, show)
	if result == nil || err != nil {
		return err
	}
	if b.json {
		return writeJSON(out, result)
	}
	return folded(out.stdout, result.Write)
}

// measurement is what bench writes for people, as JSON, and as a picture.
type measurement interface {
	Write(out io.Writer) error
	Plot(out io.Writer) error
}

func (b *benchCommand) write(report measurement, out streams) error {
	if b.json {
		return writeJSON(out, report)
	}
	return folded(out.stdout, report.Write)
}

func writeJSON(out streams, value any) error {
	encoder := json.NewEncoder(out.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func (b *benchCommand) draw(report measurement) error {
	if b.plot == "" {
		return nil
	}
	file, err := os.Create(b.plot)
	if err != nil {
		return fmt.Errorf("draw the plot: %w", err)
	}
	return errors.Join(report.Plot(file), file.Close())
}

// answers tells whether a harness that is well serves at a URL.
func answers(ctx context.Context, at string) bool {
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at+"/health", nil)
	if err != nil {
		return false
	}
	response, err := toHarness().Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// pokeAll returns what wakes the relays of the orders schema for some shards, as a function does that runs elsewhere, and does
// not wait for them.
func pokeAll(ctx context.Context, apis []string, token *identity.Token) (wake func(shards ...uint8), err error) {
	pokers := make([]*poke.Poker, len(apis))
	for i, api := range apis {
		deliver, err := poke.HTTP(api+"/functions/publish-outbox-"+schema.Orders, token)
		if err != nil {
			return nil, err
		}
		pokers[i] = poke.New("/bench", deliver, nil)
		go pokers[i].Run(ctx)
	}
	return func(shards ...uint8) {
		for _, p := range pokers {
			p.Poke(shards...)
		}
	}, nil
}
