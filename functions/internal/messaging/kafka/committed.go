package kafka

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// Committed returns the committed offset of a consumer group on each partition of a topic, which is the offset of its next
// record; 0 without a commit.
func (r *Reader) Committed(group, topic string) (map[int32]int64, error) {
	committed, err := r.Offsets(group, topic)
	for partition, offset := range committed {
		committed[partition] = max(0, offset)
	}
	return committed, err
}

// Offsets is Committed with -1 without a commit.
func (r *Reader) Offsets(group, topic string) (map[int32]int64, error) {
	partitions, err := r.client.Partitions(topic)
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", topic, err)
	}
	return groupOffsets(r.client, group, topic, partitions)
}

// groupOffsets returns the committed offsets of a consumer group on partitions of a topic, -1 without a commit.
func groupOffsets(client sarama.Client, group, topic string, partitions []int32) (map[int32]int64, error) {
	admin, err := sarama.NewClusterAdminFromClient(client) // closing it would close the client
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", group, err)
	}
	answer, err := offsets(admin, group, map[string][]int32{topic: partitions})
	// Some brokers return this error for a group without members so far; others return no offsets.
	missing := errors.Is(err, sarama.ErrGroupIDNotFound)
	if err != nil && !missing {
		return nil, fmt.Errorf("offsets of %s: %w", group, err)
	}
	committed := make(map[int32]int64, len(partitions))
	for _, partition := range partitions {
		committed[partition] = -1
		if missing {
			continue
		}
		block := answer.GetBlock(topic, partition)
		if block == nil {
			continue
		}
		if !errors.Is(block.Err, sarama.ErrNoError) {
			return nil, fmt.Errorf("offset of %s on %s/%d: %w", group, topic, partition, block.Err)
		}
		committed[partition] = block.Offset
	}
	return committed, nil
}

// A coordinator that has just taken over a group, as after the start of a broker, still loads the group's offsets.
const (
	loadWithin = 5 * time.Second
	loadLook   = 50 * time.Millisecond
)

// offsets fetches a group's committed offsets, and retries while its coordinator loads them. sarama itself retries if the
// coordinator is missing or has moved.
func offsets(admin sarama.ClusterAdmin, group string, of map[string][]int32) (*sarama.OffsetFetchResponse, error) {
	for end := time.Now().Add(loadWithin); ; time.Sleep(loadLook) {
		answer, err := admin.ListConsumerGroupOffsets(group, of)
		if err == nil && !errors.Is(answer.Err, sarama.ErrNoError) {
			err = answer.Err
		}
		if !errors.Is(err, sarama.ErrOffsetsLoadInProgress) || time.Now().After(end) {
			return answer, err
		}
	}
}
