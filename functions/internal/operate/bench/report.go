package bench

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/orders/functions/internal/operate/audit"
)

// Report is the result of a run. Times are in milliseconds unless the name has another unit.
type Report struct {
	At      time.Time `json:"at"`
	Machine Machine   `json:"machine"`
	Stack   Stack     `json:"stack"`
	Load    Load      `json:"load"`

	Accepted int `json:"accepted"`
	// Refused counts the answers other than 201 by HTTP status, "0" for no answer.
	Refused map[string]int `json:"refused,omitempty"`
	// Retried is how often an order of a closed loop was refused, and sent again after the Retry-After.
	Retried   int `json:"retried,omitempty"`
	Confirmed int `json:"confirmed"`
	Failed    int `json:"failed"`
	// Lost is the number of accepted orders without an end.
	Lost int `json:"lost"`

	// AcceptedPerSecond counts from the first POST to the last answer, ConfirmedPerSecond to the last CONFIRMED.
	AcceptedPerSecond  float64 `json:"acceptedPerSecond"`
	ConfirmedPerSecond float64 `json:"confirmedPerSecond"`

	Post            Latency `json:"post"`
	PostToConfirmed Latency `json:"postToConfirmed"`
	// PostToStored is the time until the status CONFIRMED was committed, at the latest: when finalize-order had logged it. Its count
	// is 0 if the logs were not read.
	PostToStored Latency `json:"postToStored"`
	// Outbox is the time from storing an event, of any type and before the commit, to the broker's acknowledgement.
	Outbox Latency `json:"outbox"`
	// Relayed is the time from an order.confirmed's own time until it was read from its topic.
	Relayed Latency `json:"relayed"`

	Usage    Usage    `json:"usage"`
	PerOrder PerOrder `json:"perOrder"`
	Floor    *Floor   `json:"floor,omitempty"`
	// Ratio is ConfirmedPerSecond ÷ the floor's orders per second; 0 without a floor.
	Ratio float64 `json:"ratio"`
	// PostRatio and ConfirmedRatio are the p50 of Post and of PostToConfirmed ÷ the floor's p50: at the same concurrency in
	// a closed loop, one at a time in an open one.
	PostRatio      float64 `json:"postRatio"`
	ConfirmedRatio float64 `json:"confirmedRatio"`

	Timeline []Moment `json:"timeline"`
	// Audit is the audit of the stack after the load.
	Audit *audit.Report `json:"audit,omitempty"`
}

// Machine is the machine of the load, and of the servers if their addresses are local.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	OS     string `json:"os"`
	Go     string `json:"go"`
	// Load is the system's load average of the last minute.
	Load string `json:"loadAverage"`
}

// Stack describes the stack under test.
type Stack struct {
	API string `json:"api"`
	// Members is the number of harnesses that share the load; MaxConns applies to each, or to each function in its own process.
	Members int `json:"members"`
	// Functions is the number of functions in their own processes; 0 if all run in the harness.
	Functions int      `json:"functions"`
	Database  string   `json:"database"`
	Brokers   []string `json:"brokers"`
	// Partitions is the number of partitions per topic.
	Partitions int `json:"partitions"`
	// Flush 1 writes every commit to disk.
	Flush      int  `json:"innodbFlushLogAtTrxCommit"`
	SyncBinlog int  `json:"syncBinlog"`
	Binlog     bool `json:"logBin"`
	MaxConns   int  `json:"maxConns"`
	Started    bool `json:"started"`
}

func (s Stack) size() string {
	if s.Functions > 0 {
		return fmt.Sprintf("%d functions in their own processes, %d connections each, %d partitions per topic, members: %d", s.Functions, s.MaxConns, s.Partitions, s.Members)
	}
	return fmt.Sprintf("%d connections per schema, %d partitions per topic, members: %d", s.MaxConns, s.Partitions, s.Members)
}

// together says whose CPU and memory the report has.
func (s Stack) together() string {
	switch {
	case s.Functions > 0:
		return fmt.Sprintf(" (the sums of %d processes)", s.Members+s.Functions)
	case s.Members < 2:
		return ""
	}
	return fmt.Sprintf(" (the sums of %d harnesses)", s.Members)
}

// Load is the load, like Options.
type Load struct {
	Orders      int     `json:"orders"`
	Concurrency int     `json:"concurrency"`
	Rate        float64 `json:"rate"`
	SKUs        int     `json:"skus"`
	Skew        float64 `json:"skew"`
	Lines       int     `json:"lines"`
	Seed        uint64  `json:"seed"`
	Warmup      int     `json:"warmup"`
}

func (o Options) load() Load {
	return Load{Orders: o.Orders, Concurrency: o.Concurrency, Rate: o.Rate, SKUs: o.SKUs, Skew: o.Skew, Lines: o.Lines, Seed: o.Seed, Warmup: o.Warmup}
}

// Usage is CPU time in seconds, from the first POST until every order has ended, summed over the harnesses and over functions
// in their own processes.
type Usage struct {
	Begin          time.Time `json:"begin"`
	HarnessSeconds float64   `json:"harnessCpuSeconds"`
	// FunctionSeconds is the part of each function that is a process of its own.
	FunctionSeconds map[string]float64 `json:"functionCpuSeconds,omitempty"`
	// PerThousand is the harness's CPU seconds per 1,000 confirmed orders.
	PerThousand float64 `json:"harnessCpuSecondsPer1000"`
	// HarnessMiB is the highest total memory of the harnesses at one time.
	HarnessMiB       float64 `json:"harnessMaxRssMiB"`
	GeneratorSeconds float64 `json:"generatorCpuSeconds"`
	// MachineSeconds covers all cores and all processes; StolenSeconds is what the host took away.
	MachineSeconds float64 `json:"machineCpuSeconds"`
	StolenSeconds  float64 `json:"stolenCpuSeconds"`
	WallSeconds    float64 `json:"wallSeconds"`
}

// PerOrder has the database server's counters, divided by the orders that ended. Status includes all clients of the server;
// Statements has only the stack's statements, and is empty if the performance schema is off.
type PerOrder struct {
	Status     map[string]float64 `json:"status"`
	Statements []Statement        `json:"statements,omitempty"`
}

// Statement is a statement of the stack, how often it ran and how long that took.
type Statement struct {
	Schema string  `json:"schema"`
	Text   string  `json:"text"`
	Count  float64 `json:"count"`
	Millis float64 `json:"ms"`
}

// Floor is the best possible performance of the servers, measured before and after the load; Mean is the mean of both.
type Floor struct {
	Seconds     float64 `json:"seconds"`
	Concurrency int     `json:"concurrency"`
	Before      Bare    `json:"before"`
	After       Bare    `json:"after"`
	Mean        Bare    `json:"mean"`
}

// Bare is one measurement of the minimum work.
type Bare struct {
	Orders  Speed `json:"orders"`  // the transaction of an order, with Floor.Concurrency
	Packed  Speed `json:"packed"`  // the same in one round trip, as create-order sends it
	One     Speed `json:"one"`     // the transaction statement by statement, one at a time
	Produce Speed `json:"produce"` // a record with acks=all, one at a time
}

// Speed is a rate per second, and the latencies.
type Speed struct {
	PerSecond float64 `json:"perSecond"`
	Latency   Latency `json:"latency"`
}

// fill computes the results of the load.
func (r *Report) fill(all samples) {
	post, toConfirmed, toStored, relayed := newHistogram(), newHistogram(), newHistogram(), newHistogram()
	var lastAnswer, lastConfirmed time.Duration
	refused := map[string]int{}
	for i := range all {
		s := &all[i]
		lastAnswer = max(lastAnswer, s.answered)
		r.Retried += s.retried
		if s.status != http.StatusCreated {
			refused[strconv.Itoa(s.status)]++
			continue
		}
		r.Accepted++
		post.add(s.answered - s.due)
		switch s.end {
		case confirmed:
			r.Confirmed++
			lastConfirmed = max(lastConfirmed, s.ended)
			toConfirmed.add(s.ended - s.due)
			if s.stored > 0 {
				toStored.add(s.stored - s.due)
			}
			if s.relayed > 0 {
				relayed.add(s.relayed)
			}
		case failed:
			r.Failed++
		case pending:
			r.Lost++
		}
	}
	if len(refused) > 0 {
		r.Refused = refused
	}
	r.AcceptedPerSecond = perSecond(r.Accepted, lastAnswer)
	r.ConfirmedPerSecond = perSecond(r.Confirmed, lastConfirmed)
	r.Post, r.PostToConfirmed, r.PostToStored, r.Relayed = post.latency(), toConfirmed.latency(), toStored.latency(), relayed.latency()
	r.Timeline = timeline(all)
}

func perSecond(n int, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return float64(n) / span.Seconds()
}

// compare computes the ratios.
func (r *Report) compare() {
	if r.Floor == nil {
		return
	}
	mean := r.Floor.Mean
	latency := mean.Orders.Latency.P50
	if r.Load.Rate > 0 {
		latency = mean.One.Latency.P50
	}
	r.Ratio = ratio(r.ConfirmedPerSecond, mean.Orders.PerSecond)
	r.PostRatio, r.ConfirmedRatio = ratio(r.Post.P50, latency), ratio(r.PostToConfirmed.P50, latency)
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Write writes the report for people.
func (r *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	l, u := r.Load, r.Usage
	loop := fmt.Sprintf("closed loop, %d at once", l.Concurrency)
	if l.Rate > 0 {
		loop = fmt.Sprintf("open loop, %g/s", l.Rate)
	}
	fmt.Fprintf(w, "machine\t%s, %d cores, %s, %s, %s, load average %s\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Memory, r.Machine.OS, r.Machine.Go, r.Machine.Load)
	fmt.Fprintf(w, "stack\t%s: %s, flush at commit %d, binlog %t; Kafka at %s; %s\n",
		r.Stack.API, r.Stack.Database, r.Stack.Flush, r.Stack.Binlog, strings.Join(r.Stack.Brokers, ","), r.Stack.size())
	fmt.Fprintf(w, "load\t%s; %d lines per order, %d SKUs, skew %g, after a warm-up of %d\n", loop, l.Lines, l.SKUs, l.Skew, l.Warmup)
	fmt.Fprintf(w, "orders\t%d accepted, %d confirmed, %d failed, %d lost%s%s\n", r.Accepted, r.Confirmed, r.Failed, r.Lost, refusedText(r.Refused), retriedText(r.Retried))
	fmt.Fprintf(w, "throughput\t%.0f accepted/s, %.0f confirmed/s\n\n", r.AcceptedPerSecond, r.ConfirmedPerSecond)

	fmt.Fprintf(w, "milliseconds\tp50\tp90\tp99\tp99.9\tmax")
	if r.Floor != nil {
		fmt.Fprintf(w, "\tper second")
	}
	fmt.Fprintln(w)
	row := func(name string, l Latency, rate string) {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%s\n", name, l.P50, l.P90, l.P99, l.P999, l.Max, rate)
	}
	row("POST", r.Post, "")
	row("POST to CONFIRMED", r.PostToConfirmed, "")
	if r.PostToStored.Count > 0 {
		row("POST to CONFIRMED in MySQL", r.PostToStored, "")
	}
	row("stored to acknowledged by Kafka", r.Outbox, "")
	row("order.confirmed to reader", r.Relayed, "")
	if f := r.Floor; f != nil {
		bare := func(name string, b Speed, before, after float64) {
			row(name, b.Latency, fmt.Sprintf("%.0f (%.0f before, %.0f after)", b.PerSecond, before, after))
		}
		bare(fmt.Sprintf("floor: order, %d at once", f.Concurrency), f.Mean.Orders, f.Before.Orders.PerSecond, f.After.Orders.PerSecond)
		bare("floor: the same in one round trip", f.Mean.Packed, f.Before.Packed.PerSecond, f.After.Packed.PerSecond)
		bare("floor: order, 1 at once", f.Mean.One, f.Before.One.PerSecond, f.After.One.PerSecond)
		bare("floor: Kafka, 1 at once", f.Mean.Produce, f.Before.Produce.PerSecond, f.After.Produce.PerSecond)
	}
	fmt.Fprintln(w)
	if f := r.Floor; f != nil {
		fmt.Fprintf(w, "ratio\tconfirmed/s is %.3f of the floor; p50 of POST is %.2f, of POST to CONFIRMED %.1f times the floor's\n", r.Ratio, r.PostRatio, r.ConfirmedRatio)
	}
	if u.HarnessSeconds > 0 {
		fmt.Fprintf(w, "harness\t%.2f CPU seconds per 1,000 confirmed orders, at most %.0f MiB%s\n", u.PerThousand, u.HarnessMiB, r.Stack.together())
	}
	fmt.Fprintf(w, "CPU seconds\t%.2f harness, %.2f load generator, %.2f whole machine, %.2f stolen by its host, in %.2f s\n",
		u.HarnessSeconds, u.GeneratorSeconds, u.MachineSeconds, u.StolenSeconds, u.WallSeconds)
	for _, name := range slices.Sorted(maps.Keys(u.FunctionSeconds)) {
		fmt.Fprintf(w, "\t%.2f %s\n", u.FunctionSeconds[name], name)
	}
	fmt.Fprintf(w, "per order\t%s (all clients of the server)\n", statusText(r.PerOrder.Status))
	for i, s := range r.PerOrder.Statements {
		if i == shown {
			break
		}
		fmt.Fprintf(w, "\t%.2f times, %.3f ms: %s: %s\n", s.Count, s.Millis, s.Schema, short(s.Text))
	}
	if r.Audit == nil {
		return w.Flush()
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\naudit")
	r.Audit.Write(out)
	return nil
}

// shown is the number of statements in the report for people.
const shown = 12

func short(text string) string {
	if len(text) > 90 {
		return text[:90] + "…"
	}
	return text
}

func refusedText(refused map[string]int) string {
	var text strings.Builder
	for _, status := range slices.Sorted(maps.Keys(refused)) {
		name := "HTTP " + status
		if status == "0" {
			name = "no answer"
		}
		fmt.Fprintf(&text, ", %d × %s", refused[status], name)
	}
	return text.String()
}

func retriedText(retried int) string {
	if retried == 0 {
		return ""
	}
	return fmt.Sprintf(", sent again %d times after a refusal", retried)
}

func statusText(status map[string]float64) string {
	var parts []string
	for _, name := range []string{"Questions", "Com_select", "Com_insert", "Com_update", "Com_commit", "Handler_commit", "Handler_write", "Handler_update"} {
		if value, ok := status[name]; ok {
			parts = append(parts, fmt.Sprintf("%s %.1f", name, value))
		}
	}
	return strings.Join(parts, ", ")
}
