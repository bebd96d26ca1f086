// Package metrics counts events, batches, requests and orders, and serves the counts to Prometheus.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics has all metrics of a process. Its methods do nothing on nil, so that callers need not know whether there are
// metrics. The Add methods create counters with known labels at zero: otherwise an alert on an increase would miss the first
// count.
type Metrics struct {
	// Registry takes more collectors, such as those that query a database when they are scraped.
	Registry *prometheus.Registry

	deadLetters *prometheus.CounterVec
	cut         *prometheus.CounterVec
	lost        *prometheus.CounterVec
	retries     *prometheus.CounterVec

	handled *prometheus.CounterVec
	steps   *prometheus.HistogramVec

	batches  *prometheus.CounterVec
	relayed  *prometheus.CounterVec
	relaying *prometheus.HistogramVec
	facts    *prometheus.CounterVec
	money    prometheus.Counter
	final    *prometheus.HistogramVec

	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
}

var (
	// short has the upper bounds of buckets, in seconds, for requests and steps.
	short = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	// long has those for orders: up to the time after which an order expires.
	long = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}
)

// New returns metrics at zero, with those of the process and of Go.
func New() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	m.deadLetters = m.counter("orders_dead_letters_total",
		"Records that were set aside as dead letters, acknowledged by the broker.", "topic", "consumer", "reason")
	m.cut = m.counter("orders_dead_letters_cut_total",
		"Dead letters without a part of their record, which was too large for the topic.", "topic", "consumer")
	m.lost = m.counter("orders_records_lost_total",
		"Records that were removed from a topic before the consumer had handled them.", "topic", "consumer")
	m.retries = m.counter("orders_delivery_retries_total",
		"Deliveries of a record that came after one that failed.", "topic", "consumer")
	m.handled = m.counter("orders_function_events_total",
		"Events by what a function did with them: handled, duplicate (absorbed), retried (failed, to be delivered again), poisoned.", "function", "outcome")
	m.steps = m.histogram("orders_function_duration_seconds",
		"How long a function took over an event, its transaction included.", short, "function")
	m.batches = m.counter("orders_relay_batches_total",
		"Batches of stored events that a relay has given to the broker.", "schema")
	m.relayed = m.counter("orders_relay_events_total",
		"Stored events given to the broker: sent, refused (counted against the event), unknown (to be sent again).", "schema", "outcome")
	m.relaying = m.histogram("orders_relay_batch_duration_seconds",
		"How long a relay took over a batch: claim, publish, mark, commit.", short, "schema")
	m.facts = m.counter("orders_facts_total",
		"Facts emitted: events that the broker has acknowledged.", "type")
	m.money = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "orders_confirmed_amount_total",
		Help: "Total amount of all confirmed orders, in minor units of the currency.",
	})
	m.final = m.histogram("orders_final_latency_seconds",
		"From the acceptance of an order to the end of its saga, by its status then.", long, "status")
	m.requests = m.counter("orders_http_requests_total",
		"HTTP requests that were answered.", "method", "route", "code")
	m.latency = m.histogram("orders_http_request_duration_seconds",
		"How long the answer to an HTTP request took; streams are left out.", short, "method", "route")
	m.Registry.MustRegister(m.money,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return m
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.Registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.Registry.MustRegister(h)
	return h
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{Registry: m.Registry})
}
