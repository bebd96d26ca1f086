package kafka

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// memberClient is the client of a member of a consumer group. The group's coordinator has a connection of its own, as in Kafka's
// Java client. A sarama client has one connection for each broker, and sends nothing over it until the broker has answered a
// fetch: with one broker, heartbeats and commits would wait for the long poll, and go out together with the next record, whose
// function they keep waiting.
type memberClient struct {
	sarama.Client // fetches

	coordinator sarama.Client
}

func newMemberClient(brokers []string, c *sarama.Config) (memberClient, error) {
	fetcher, err := sarama.NewClient(brokers, c)
	if err != nil {
		return memberClient{}, fmt.Errorf("connect to fetch: %w", err)
	}
	coordinator, err := sarama.NewClient(brokers, c)
	if err != nil {
		return memberClient{}, errors.Join(fmt.Errorf("connect to the coordinator: %w", err), fetcher.Close())
	}
	return memberClient{fetcher, coordinator}, nil
}

func (c memberClient) Coordinator(group string) (*sarama.Broker, error) {
	return c.coordinator.Coordinator(group)
}

func (c memberClient) RefreshCoordinator(group string) error {
	return c.coordinator.RefreshCoordinator(group)
}

func (c memberClient) Close() error { return errors.Join(c.Client.Close(), c.coordinator.Close()) }
