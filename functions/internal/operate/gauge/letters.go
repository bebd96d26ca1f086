package gauge

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/orders/knative"
)

var openLetters = prometheus.NewDesc("orders_dead_letters_open",
	"Dead letters that wait for an operator, by the topic and the consumer of their events.", []string{"topic", "consumer"}, nil)

// Letters are the dead letters of a consumer with events of a topic.
type Letters struct{ Topic, Consumer string }

// strangers are letters that no source of the wiring has written: their names could be any.
const strangers = "unknown"

func countLetters(ctx context.Context, sources []knative.KafkaSource, count func(context.Context) (map[Letters]int, error)) ([]prometheus.Metric, error) {
	found, err := count(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the open dead letters: %w", err)
	}
	known := map[Letters]int{}
	for _, source := range sources {
		known[Letters{source.Topic, source.Sink}] = 0
	}
	unknown := 0
	for letters, n := range found {
		if _, ok := known[letters]; ok {
			known[letters] = n
		} else {
			unknown += n
		}
	}
	values := []prometheus.Metric{gauge(openLetters, float64(unknown), strangers, strangers)}
	for letters, n := range known {
		values = append(values, gauge(openLetters, float64(n), letters.Topic, letters.Consumer))
	}
	return values, nil
}
