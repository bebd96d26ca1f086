package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// Loss is a range of a partition, from From up to but not including To, whose records were removed before their consumer
// handled them: by the topic's retention, or by an operator.
type Loss struct {
	Topic     string
	Partition int32
	Consumer  string
	From, To  int64
}

// errRemoved ends a session in which records were removed before they were read. The next session determines which.
var errRemoved = errors.New("records were removed before they were read")

// resume handles a claim that does not begin at the committed offset of its group, and continues from the oldest record.
// sarama does that silently if the topic no longer has the committed offset.
//
// Only the oldest offset of the partition indicates a loss. A gap between two existing records does not, since transaction
// markers and compaction leave gaps, too.
func (m *member) resume(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	if claim.InitialOffset() >= 0 {
		return nil
	}
	s, topic, partition := m.source, claim.Topic(), claim.Partition()
	committed, err := groupOffsets(s.client, s.o.Spec.Group, topic, []int32{partition})
	if err != nil {
		return err
	}
	oldest, err := s.client.GetOffset(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return fmt.Errorf("oldest offset of %s/%d: %w", topic, partition, err)
	}
	newest, err := s.client.GetOffset(topic, partition, sarama.OffsetNewest)
	if err != nil {
		return fmt.Errorf("newest offset of %s/%d: %w", topic, partition, err)
	}
	at := committed[partition]
	log := s.o.Log.With("partition", partition, "committed_offset", at, "oldest_offset", oldest)
	switch {
	case at < 0:
		if oldest > 0 {
			log.Warn("group has no committed offset, as at its first start or after the brokers' offset retention: records removed before the oldest one may not have been handled")
		}
		// Committed before the first record arrives, so that the removal of that record is noticed.
		session.MarkOffset(topic, partition, oldest, "")
	case at < oldest:
		if err := s.lose(session.Context(), Loss{topic, partition, s.o.Spec.Sink, at, oldest}); err != nil {
			return err
		}
		log.Error("records lost: they were removed before they were handled", "lost", oldest-at)
		session.MarkOffset(topic, partition, oldest, "")
	case at > newest:
		log.Warn("committed offset is beyond the newest record: the topic was recreated, or its brokers have lost records", "newest_offset", newest)
		session.ResetOffset(topic, partition, oldest, "") // otherwise no offset up to it would be committed
	}
	return nil
}

// lose stores a loss permanently before the source continues.
func (s *Source) lose(ctx context.Context, l Loss) error {
	if s.o.Lost != nil {
		if err := s.o.Lost(ctx, l); err != nil {
			return fmt.Errorf("record that offsets %d to %d of %s/%d were lost: %w", l.From, l.To-1, l.Topic, l.Partition, err)
		}
	}
	s.o.Metrics.CountLost(l.Topic, l.Consumer, int(l.To-l.From))
	return nil
}
