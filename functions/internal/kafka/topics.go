package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/knative"
)

// EnsureTopics creates the topics that the cluster does not have, with their partitions and configuration, on at most
// as many replicas as there are brokers, and waits until each partition has a leader. Topics that are there stay as
// they are. It tries again while the cluster cannot be reached, within ctx; what the cluster refuses for good, such as a
// configuration that it does not know, is an error at once.
func EnsureTopics(ctx context.Context, brokers []string, topics []knative.Topic) error {
	for {
		err := ensureTopics(brokers, topics)
		if err == nil {
			return nil
		}
		if refusedTopic(err) {
			return fmt.Errorf("create the topics at %v: %w", brokers, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create the topics at %v: %w", brokers, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// refusedTopic tells whether a topic will not be created however often it is tried.
func refusedTopic(err error) bool {
	for _, refusal := range []sarama.KError{
		sarama.ErrInvalidTopic, sarama.ErrInvalidPartitions, sarama.ErrInvalidConfig, sarama.ErrPolicyViolation,
		sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

func ensureTopics(brokers []string, topics []knative.Topic) error {
	c := config("orders-topics")
	c.Metadata.Full = true // the whole cluster's, for the number of brokers
	client, err := sarama.NewClient(brokers, c)
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return errors.Join(err, client.Close())
	}
	defer func() { _ = admin.Close() }() // closes the client too; nothing is lost when it fails
	known, err := admin.ListTopics()
	if err != nil {
		return err
	}
	replicas := int16(len(client.Brokers()))
	for _, t := range topics {
		if _, ok := known[t.Name]; ok {
			continue
		}
		detail := &sarama.TopicDetail{NumPartitions: t.Partitions, ReplicationFactor: max(1, min(t.Replicas, replicas)), ConfigEntries: map[string]*string{}}
		for name, value := range t.Config {
			detail.ConfigEntries[name] = &value
		}
		if err := admin.CreateTopic(t.Name, detail, false); err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.Name, err)
		}
	}
	return awaitLeaders(client, topics)
}

func awaitLeaders(client sarama.Client, topics []knative.Topic) error {
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	if err := client.RefreshMetadata(names...); err != nil {
		return err
	}
	for _, name := range names {
		partitions, err := client.Partitions(name)
		if err != nil {
			return fmt.Errorf("partitions of %s: %w", name, err)
		}
		for _, partition := range partitions {
			if _, err := client.Leader(name, partition); err != nil {
				return fmt.Errorf("leader of %s/%d: %w", name, partition, err)
			}
		}
	}
	return nil
}
