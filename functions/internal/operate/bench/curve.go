package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/orders/functions/internal/operate/audit"
)

// Curve is what a stack does under more and more load. Times are in milliseconds.
type Curve struct {
	At      time.Time `json:"at"`
	Machine Machine   `json:"machine"`
	Stack   Stack     `json:"stack"`
	Load    Load      `json:"load"`
	// Seconds is how long orders were offered at each point.
	Seconds float64 `json:"seconds"`
	// Capacity is the confirmed orders per second of a closed loop, by which the offers are scaled.
	Capacity float64 `json:"capacity"`
	Points   []Point `json:"points"`
	// Audit is the audit of the stack after the load.
	Audit *audit.Report `json:"audit,omitempty"`
}

// Point is an open loop at one rate.
type Point struct {
	Share     float64 `json:"share"` // of the capacity
	Offered   float64 `json:"offeredPerSecond"`
	Accepted  float64 `json:"acceptedPerSecond"`
	Refused   float64 `json:"refusedPerSecond"` // with a 429 or a 503
	Confirmed float64 `json:"confirmedPerSecond"`
	// Unanswered counts the orders with another answer, or without one.
	Unanswered int `json:"unanswered"`
	// Post and Refusal are the times to a 201, and to a 429 or 503.
	Post            Latency `json:"post"`
	Refusal         Latency `json:"refusal"`
	PostToConfirmed Latency `json:"postToConfirmed"`
	// Harness and Generator are the CPU seconds per second of the stack's processes and of the load generator, which takes
	// them from the stack if both share a machine.
	Harness   float64 `json:"harnessCpuPerSecond"`
	Generator float64 `json:"generatorCpuPerSecond"`
}

// shares are the points of a curve, as shares of the capacity.
var shares = []float64{0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.25, 1.5, 2, 3}

// closedConcurrency is that of the closed loop that finds the capacity.
const closedConcurrency = 32

// Trace measures the capacity by a closed loop of o.Orders orders, and then an open loop for a while at each of several rates,
// from 0.1 to 3 times the capacity, with at most o.Concurrency requests in flight. The error wraps ErrLost if accepted orders
// have not ended.
func Trace(ctx context.Context, target Target, o Options, each time.Duration, show *Progress) (_ *Curve, err error) {
	r, end, err := start(ctx, target, o, show)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	shape, err := r.warm(ctx)
	if err != nil {
		return nil, err
	}
	c := &Curve{At: time.Now().UTC(), Machine: thisMachine(), Load: o.load(), Seconds: each.Seconds()}
	if c.Stack, err = r.database.describe(ctx, target); err != nil {
		return nil, err
	}
	c.Stack.Partitions = r.watch.partitions
	closed := o
	closed.Rate, closed.Concurrency = 0, closedConcurrency
	show.say("%d orders in a closed loop, %d at once", closed.Orders, closed.Concurrency)
	all, err := r.load(ctx, closed, shape, nil)
	if err != nil {
		return nil, err
	}
	whole := &Report{}
	whole.fill(all)
	c.Capacity = whole.ConfirmedPerSecond
	if c.Capacity == 0 {
		return nil, errors.New("no order of the closed loop was confirmed")
	}
	for _, share := range shares {
		open := o
		open.Rate = c.Capacity * share
		open.Orders = max(1, int(open.Rate*each.Seconds()))
		show.say("%.0f orders per second, %g times the capacity", open.Rate, share)
		usage := startUsage(target.Processes)
		all, err := r.load(ctx, open, shape, usage)
		if err != nil {
			return c, err
		}
		c.Points = append(c.Points, point(share, open.Rate, all, usage.stop(all.confirmed())))
	}
	return c, nil
}

// point computes the results of an open loop.
func point(share, rate float64, all samples, used Usage) Point {
	whole, refusal := &Report{}, newHistogram()
	whole.fill(all)
	p := Point{Share: share, Offered: rate, Confirmed: whole.ConfirmedPerSecond, Post: whole.Post, PostToConfirmed: whole.PostToConfirmed,
		Harness: used.HarnessSeconds / used.WallSeconds, Generator: used.GeneratorSeconds / used.WallSeconds}
	var refused int
	var last time.Duration
	for i := range all {
		last = max(last, all[i].answered)
		switch all[i].status {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			refused++
			refusal.add(all[i].answered - all[i].due)
		case http.StatusCreated:
		default:
			p.Unanswered++
		}
	}
	p.Accepted, p.Refused, p.Refusal = perSecond(whole.Accepted, last), perSecond(refused, last), refusal.latency()
	return p
}

// Write writes the curve for people.
func (c *Curve) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "%s, %d cores, load average %s; %s, flush at commit %d, binlog %t; %s\n", c.Machine.CPU, c.Machine.Cores, c.Machine.Load,
		c.Stack.Database, c.Stack.Flush, c.Stack.Binlog, c.Stack.size())
	fmt.Fprintf(out, "capacity: %.0f confirmed/s in a closed loop of %d orders; then an open loop for %g s each\n\n", c.Capacity, c.Load.Orders, c.Seconds)
	fmt.Fprintln(w, "times capacity\toffered/s\taccepted/s\trefused/s\tconfirmed/s\tPOST to CONFIRMED p50\tp99\tPOST p99\trefusal p50\tp99\tother answers\tcores: harness\tload\t")
	for _, p := range c.Points {
		fmt.Fprintf(w, "%g\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f\t%.0f\t%d\t%.2f\t%.2f\t\n", p.Share, p.Offered, p.Accepted, p.Refused, p.Confirmed,
			p.PostToConfirmed.P50, p.PostToConfirmed.P99, p.Post.P99, p.Refusal.P50, p.Refusal.P99, p.Unanswered, p.Harness, p.Generator)
	}
	if err := w.Flush(); err != nil || c.Audit == nil {
		return err
	}
	fmt.Fprintln(out, "\naudit")
	c.Audit.Write(out)
	return nil
}

// Plot draws throughput and latency over the offered load, for light and dark backgrounds.
func (c *Curve) Plot(out io.Writer) error {
	var svg strings.Builder
	head(&svg, fmt.Sprintf("orders offered at up to %.0f/s, %.0f/s are confirmed in a closed loop", c.Capacity*shares[len(shares)-1], c.Capacity))
	rates := panel{title: "orders per second, over those offered", names: [2]string{"refused", "confirmed"}, unit: "/s"}
	times := panel{title: "POST to CONFIRMED, ms", names: [2]string{"p50", "p99"}, unit: "/s"}
	for _, p := range c.Points {
		rates.points = append(rates.points, mark{p.Offered, [2]float64{p.Refused, p.Confirmed}})
		times.points = append(times.points, mark{p.Offered, [2]float64{p.PostToConfirmed.P50, p.PostToConfirmed.P99}})
	}
	return draw(out, &svg, rates, times)
}
