package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Consumer is a function that consumes a topic.
type Consumer struct{ Topic, Function string }

// DeadLetters returns the number of dead letters of each consumer since the process began, without gathering other metrics.
func (m *Metrics) DeadLetters() map[Consumer]int {
	if m == nil {
		return map[Consumer]int{}
	}
	return byConsumer(m.deadLetters)
}

// Lost returns the number of lost records of each consumer since the process began, likewise.
func (m *Metrics) Lost() map[Consumer]int {
	if m == nil {
		return map[Consumer]int{}
	}
	return byConsumer(m.lost)
}

func byConsumer(counters prometheus.Collector) map[Consumer]int {
	counts := map[Consumer]int{}
	collected := make(chan prometheus.Metric)
	go func() {
		counters.Collect(collected)
		close(collected)
	}()
	for metric := range collected {
		var written dto.Metric
		if err := metric.Write(&written); err != nil {
			continue // it is always a counter
		}
		labels := map[string]string{}
		for _, label := range written.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		counts[Consumer{labels["topic"], labels["consumer"]}] += int(written.GetCounter().GetValue())
	}
	return counts
}
