// Package metrics counts what the system does. Whoever does something is given a Metrics and tells it; what comes out
// is the text that Prometheus scrapes.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is all that one process counts. Its methods may be called on nil, and count nothing then: who counts does not
// have to know whether anybody looks.
type Metrics struct {
	// Registry takes more collectors, such as those that ask a database when they are scraped.
	Registry *prometheus.Registry

	deadLetters *prometheus.CounterVec
}

// New returns metrics that are all zero, with those of the process and of Go beside them.
func New() *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orders_dead_letters_total",
			Help: "Records that were set aside as dead letters, acknowledged by the broker.",
		}, []string{"topic", "consumer", "reason"}),
	}
	m.Registry.MustRegister(
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector(), m.deadLetters)
	return m
}

// The reasons of a dead letter that are always there; the others are rejected_3xx and rejected_4xx, by the status that
// the consumer answered.
const (
	Poison    = "poison"    // the consumer said that it never will succeed
	Exhausted = "exhausted" // it failed until the last retry
)

// AddConsumer makes the counters of a consumer's dead letters, zero as yet: an alert on an increase does not see the
// first count of a counter that was not there before.
func (m *Metrics) AddConsumer(topic, consumer string) {
	if m == nil {
		return
	}
	m.deadLetters.WithLabelValues(topic, consumer, Poison)
	m.deadLetters.WithLabelValues(topic, consumer, Exhausted)
}

// CountDeadLetter counts a record of a topic that was set aside since the consumer failed.
func (m *Metrics) CountDeadLetter(topic, consumer, reason string) {
	if m == nil {
		return
	}
	m.deadLetters.WithLabelValues(topic, consumer, reason).Inc()
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{Registry: m.Registry})
}
