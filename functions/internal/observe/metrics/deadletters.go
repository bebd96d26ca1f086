package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Consumer is a function that handles a topic.
type Consumer struct{ Topic, Function string }

// DeadLetters returns how many records of each consumer were set aside since the process began, without asking anything
// else that is measured.
func (m *Metrics) DeadLetters() map[Consumer]int {
	if m == nil {
		return map[Consumer]int{}
	}
	return byConsumer(m.deadLetters)
}

// Lost returns how many records of each consumer were lost since the process began, likewise.
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
			continue // a counter always can
		}
		labels := map[string]string{}
		for _, label := range written.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		counts[Consumer{labels["topic"], labels["consumer"]}] += int(written.GetCounter().GetValue())
	}
	return counts
}
