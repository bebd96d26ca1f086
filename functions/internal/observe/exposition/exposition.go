// Package exposition keeps the metrics of a process and serves them to Prometheus.
package exposition

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"example.com/orders/functions/internal/observe/metrics"
)

// Registry is what Prometheus scrapes. It takes more collectors, such as those that query a database when they are scraped.
type Registry struct {
	*prometheus.Registry
	*metrics.Metrics // counted into the registry
}

// New returns a registry with Metrics at zero, and with the metrics of the process and of Go.
func New() *Registry {
	r := &Registry{Registry: prometheus.NewRegistry()}
	r.Metrics = metrics.New(store{r})
	r.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return r
}

// Handler serves the metrics in the formats of Prometheus.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r})
}

// store registers what it makes.
type store struct{ registry prometheus.Registerer }

func (s store) Counter(name, help string, labels ...string) metrics.Counter {
	c := counter{prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)}
	s.registry.MustRegister(c.vec)
	if len(labels) == 0 {
		c.Add(0)
	}
	return c
}

func (s store) Gauge(name, help string, labels ...string) metrics.Gauge {
	g := gauge{prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)}
	s.registry.MustRegister(g.vec)
	return g
}

func (s store) Histogram(name, help string, bounds []float64, labels ...string) metrics.Histogram {
	h := histogram{prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds}, labels)}
	s.registry.MustRegister(h.vec)
	return h
}

type counter struct{ vec *prometheus.CounterVec }

func (c counter) Add(n float64, values ...string) { c.vec.WithLabelValues(values...).Add(n) }

func (c counter) Each(f func(labels map[string]string, count float64)) {
	read(c.vec, func(labels map[string]string, written *dto.Metric) { f(labels, written.GetCounter().GetValue()) })
}

type gauge struct{ vec *prometheus.GaugeVec }

func (g gauge) Set(value float64, values ...string) { g.vec.WithLabelValues(values...).Set(value) }

type histogram struct{ vec *prometheus.HistogramVec }

func (h histogram) Create(values ...string) { h.vec.WithLabelValues(values...) }

func (h histogram) Observe(value float64, values ...string) {
	h.vec.WithLabelValues(values...).Observe(value)
}

func (h histogram) Each(f func(labels map[string]string, count uint64, sum float64)) {
	read(h.vec, func(labels map[string]string, written *dto.Metric) {
		f(labels, written.GetHistogram().GetSampleCount(), written.GetHistogram().GetSampleSum())
	})
}

// read calls each with the labels and the value of each metric of a collector.
func read(collector prometheus.Collector, each func(labels map[string]string, written *dto.Metric)) {
	collected := make(chan prometheus.Metric)
	go func() {
		collector.Collect(collected)
		close(collected)
	}()
	for metric := range collected {
		var written dto.Metric
		if err := metric.Write(&written); err != nil {
			continue // it is always complete
		}
		labels := map[string]string{}
		for _, label := range written.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		each(labels, &written)
	}
}
