package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/observe/health"
)

// Ping succeeds if one of the brokers, each host:port, answers a request within health.Within. An accepted connection is not
// enough: the operating system accepts it even for a broker that hangs.
func Ping(ctx context.Context, brokers []string) error {
	answers := make(chan error, len(brokers))
	for _, broker := range brokers {
		go func() { answers <- pingOne(broker) }()
	}
	var errs []error
	for range brokers {
		select {
		case err := <-answers:
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

func pingOne(address string) error {
	c := config("orders-health")
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = health.Within, health.Within, health.Within
	broker := sarama.NewBroker(address)
	if err := broker.Open(c); err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	defer func() { _ = broker.Close() }() // nothing depends on it
	if _, err := broker.ApiVersions(&sarama.ApiVersionsRequest{}); err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	return nil
}
