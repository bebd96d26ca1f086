package main

import (
	"context"
	"errors"
	"maps"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/knative"
)

// fill makes the schemas and the topics before a harness does, and writes ended orders into them: its consumers then begin after
// their records.
func (s *benchStack) fill(ctx context.Context, write func(context.Context, bench.Target, []knative.KafkaSource) error, out streams) (err error) {
	wiring, err := knative.Configured(s.options.environ)
	if err != nil {
		return err
	}
	if wiring.HasPayments() || wiring.Captures() {
		return usage(errors.New("--fill writes orders without payments, and events that no connector publishes: leave HARNESS_OVERLAY out"))
	}
	// As the harness itself will: what the last one on the folder had does not count.
	d := &deployment{options: s.options, needed: needsDatabase | needsKafka | makesMissing, config: maps.Clone(s.options.environ)}
	servers, release, err := d.connect(ctx, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if _, _, err := servers.migrate(ctx); err != nil {
		return err
	}
	if err := kafka.EnsureTopics(ctx, servers.brokers, wiring.Topics); err != nil {
		return err
	}
	target := bench.Target{Brokers: servers.brokers, TopicPrefix: servers.config["KAFKA_TOPIC_PREFIX"]}
	if target.Currency, err = base.Currency(servers.config); err != nil {
		return usage(err)
	}
	if target.Server, _, err = base.Server(servers.config); err != nil {
		return err
	}
	return write(ctx, target, wiring.Sources)
}
