package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/messaging/poke"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/operate/bench"
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
	backlog  int
	pprof    bool
	deployed bool
	running  bool
	size     benchSize
}

// prepareBench adds the flags of bench.
func prepareBench(flags *pflag.FlagSet) runner {
	b := &benchCommand{flags: flags}
	flags.BoolVar(&b.running, "running", false, "measure the harness that runs on --data, or on --addr with the servers of MYSQL_DSN and KAFKA_BROKERS, where the orders stay, instead of a stack of its own")
	flags.IntVar(&b.load.Orders, "orders", 5000, "how many orders to place")
	flags.IntVar(&b.load.Concurrency, "concurrency", 0, "requests under way at once: 32 by default, or at most 256 with --rate")
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
	flags.StringVar(&b.plot, "plot", "", "write throughput and latency over time to an SVG `file`")
	flags.IntVar(&b.backlog, "backlog", 0, "instead of orders: store so many `rows` in the outbox at once and measure how fast they are relayed")
	flags.IntVar(&b.size.partitions, "partitions", 0, "partitions of each topic of the stack that is started (default what the manifests say)")
	flags.IntVar(&b.size.members, "members", 1, "harnesses that are started to share the load, the consumer groups and the outboxes; several need MYSQL_DSN and KAFKA_BROKERS")
	flags.BoolVar(&b.deployed, "deployed", false, "let the harness that is started run each function as a process of its own behind HTTP, and post events to it as a KafkaSource does")
	flags.BoolVar(&b.pprof, "pprof", false, "let the harness that is started serve Go's profiles, and say where")
	return b.run
}

// run measures a stack that it starts, or the one that runs, and writes the report to standard output.
func (b *benchCommand) run(ctx context.Context, o options, out streams) (err error) {
	if b.load.Concurrency == 0 {
		b.load.Concurrency = 32
		if b.load.Rate > 0 {
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
	target, err := b.target(ctx, o, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.release()) }()
	if b.backlog != 0 {
		return b.drain(ctx, target.Target, out, show)
	}
	defer fmt.Fprintf(out.stderr, "%s are in %s\n", b.load.Made(), target.where)
	begin := time.Now()
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

// What the flags may ask for: more than one machine has use for.
const maxPartitions, maxMembers = 200, 32

func (b *benchCommand) validateSize() error {
	var errs []error
	if p := b.size.partitions; b.flags.Changed("partitions") && (p < 1 || p > maxPartitions) {
		errs = append(errs, fmt.Errorf("--partitions %d: give 1 to %d", p, maxPartitions))
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

func (b *benchCommand) drain(ctx context.Context, target bench.Target, out streams, show *bench.Progress) error {
	result, err := bench.Drain(ctx, target, b.backlog, b.load.Patience, func(ctx context.Context) error { return pokeAll(ctx, target.APIs) }, show)
	if result == nil || err != nil {
		return err
	}
	if b.json {
		return writeJSON(out, result)
	}
	return folded(out.stdout, result.Write)
}

func (b *benchCommand) write(report *bench.Report, out streams) error {
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

func (b *benchCommand) draw(report *bench.Report) error {
	if b.plot == "" {
		return nil
	}
	file, err := os.Create(b.plot)
	if err != nil {
		return fmt.Errorf("draw the plot: %w", err)
	}
	return errors.Join(report.Plot(file), file.Close())
}

// answers tells whether a harness that is well listens on an address.
func answers(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(addr)+"/health", nil)
	if err != nil {
		return false
	}
	response, err := toHarness().Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// pokeAll wakes the relays of the orders schema for all its shards, as a function does that runs elsewhere, and does not
// wait for them.
func pokeAll(ctx context.Context, apis []string) error {
	for _, api := range apis {
		deliver, err := poke.HTTP(api + "/functions/publish-outbox-" + schema.Orders)
		if err != nil {
			return err
		}
		p := poke.New("/bench", deliver, nil)
		p.Poke(outbox.AllShards()...)
		go p.Run(ctx)
	}
	return nil
}
