package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/knative"
)

// EnsureTopics creates missing topics, with their partitions and configuration, on at most as many replicas as there are
// brokers, and waits until each partition has a leader. Existing topics stay as they are. It retries within ctx while the
// cluster is unreachable; an error that a retry cannot fix, such as an unknown setting, is returned at once.
func EnsureTopics(ctx context.Context, brokers []string, topics []knative.Topic) error {
	for {
		err := administer(brokers, func(client sarama.Client, admin sarama.ClusterAdmin) error {
			return ensureTopics(client, admin, topics)
		})
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

// refusedTopic returns whether the creation of a topic fails for good.
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

// administer calls do with a client and an admin of the cluster.
func administer(brokers []string, do func(sarama.Client, sarama.ClusterAdmin) error) error {
	c := config("orders-topics")
	c.Metadata.Full = true // for the number of brokers in the whole cluster
	client, err := sarama.NewClient(brokers, c)
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return errors.Join(err, client.Close())
	}
	defer func() { _ = admin.Close() }() // closes the client too; its error does not matter
	return do(client, admin)
}

// Existing returns the names of those topics that the cluster has.
func Existing(brokers []string, topics []knative.Topic) (names []string, err error) {
	err = administer(brokers, func(_ sarama.Client, admin sarama.ClusterAdmin) error {
		known, err := admin.ListTopics()
		for _, t := range topics {
			if _, ok := known[t.Name]; ok {
				names = append(names, t.Name)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the topics at %v: %w", brokers, err)
	}
	return names, nil
}

func ensureTopics(client sarama.Client, admin sarama.ClusterAdmin, topics []knative.Topic) error {
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

// recordSize is the topic setting that bounds records, in bytes.
const recordSize = "max.message.bytes"

// Undersized returns the topics whose record limit is smaller than declared, with their declaration: they existed before,
// from an earlier release or made by hand.
func Undersized(brokers []string, topics []knative.Topic) (small []knative.Topic, err error) {
	declared := map[string]knative.Topic{}
	var resources []*sarama.ConfigResource
	for _, t := range topics {
		declared[t.Name] = t
		resources = append(resources, &sarama.ConfigResource{Type: sarama.TopicResource, Name: t.Name, ConfigNames: []string{recordSize}})
	}
	err = administer(brokers, func(_ sarama.Client, admin sarama.ClusterAdmin) error {
		described, err := admin.DescribeConfigs(resources, sarama.DescribeConfigsOptions{})
		if err != nil {
			return err
		}
		for _, d := range described {
			for _, entry := range d.Configs {
				has, err := strconv.Atoi(entry.Value)
				want, _ := strconv.Atoi(declared[d.Name].Config[recordSize]) // none is less than any
				if entry.Name == recordSize && err == nil && has < want {
					small = append(small, declared[d.Name])
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compare the topics at %v with their declarations: %w", brokers, err)
	}
	return small, nil
}

// Widen raises the record limit of topics to the declared one.
func Widen(brokers []string, topics []knative.Topic) error {
	err := administer(brokers, func(_ sarama.Client, admin sarama.ClusterAdmin) error {
		for _, t := range topics {
			size := t.Config[recordSize]
			err := admin.IncrementalAlterConfig(sarama.TopicResource, t.Name,
				map[string]sarama.IncrementalAlterConfigsEntry{recordSize: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &size}}, false)
			if err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set %s of topics at %v: %w", recordSize, brokers, err)
	}
	return nil
}

// WidenCommand returns the command of Kafka's tools that does the same as Widen.
func WidenCommand(brokers []string, t knative.Topic) string {
	return fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name %s --add-config %s=%s",
		strings.Join(brokers, ","), t.Name, recordSize, t.Config[recordSize])
}
