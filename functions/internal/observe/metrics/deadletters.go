package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Consumer is a function that consumes a topic.
type Consumer struct{ Topic, Function string }

// DeadLetters returns the number of dead letters of each consumer since the process began, by reason, without gathering other
// metrics.
func (m *Metrics) DeadLetters() map[Consumer]map[string]int {
	counts := map[Consumer]map[string]int{}
	if m == nil {
		return counts
	}
	read(m.deadLetters, func(labels map[string]string, written *dto.Metric) {
		consumer := Consumer{labels["topic"], labels["consumer"]}
		if counts[consumer] == nil {
			counts[consumer] = map[string]int{}
		}
		counts[consumer][labels["reason"]] = int(written.GetCounter().GetValue())
	})
	return counts
}

// Lost returns the number of lost records of each consumer since the process began, likewise.
func (m *Metrics) Lost() map[Consumer]int {
	counts := map[Consumer]int{}
	if m == nil {
		return counts
	}
	read(m.lost, func(labels map[string]string, written *dto.Metric) {
		counts[Consumer{labels["topic"], labels["consumer"]}] += int(written.GetCounter().GetValue())
	})
	return counts
}

// Step is how many events a function has handled since the process began, and the time it took over them.
type Step struct {
	Events  uint64
	Seconds float64
}

// Steps returns the steps of each function, likewise.
func (m *Metrics) Steps() map[string]Step {
	steps := map[string]Step{}
	if m == nil {
		return steps
	}
	read(m.steps, func(labels map[string]string, written *dto.Metric) {
		steps[labels["function"]] = Step{written.GetHistogram().GetSampleCount(), written.GetHistogram().GetSampleSum()}
	})
	return steps
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
