package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// Loss is the records of a partition from one offset up to, and without, another that were removed before their consumer
// had handled them: by the retention of the topic, or by somebody who deleted them.
type Loss struct {
	Topic     string
	Partition int32
	Consumer  string
	From, To  int64
}

// errRemoved ends a session in which records were removed before they were read. The next one finds out which.
var errRemoved = errors.New("records were removed before they were read")

// resume finds out what it means that a claim does not begin with the offset that its group has committed, and goes on from
// the oldest record. sarama begins there without a word when the committed offset is not in the topic any more.
//
// Only the oldest offset of the partition tells a loss: a gap between two records that are there is none, since the markers
// of transactions, and records that were compacted, leave gaps too.
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
			log.Warn("group has no offset, or had none for longer than the brokers keep it: what was removed before the oldest record is not known to have been handled")
		}
		// Committed before the first record comes, so that it is known when that one is removed.
		session.MarkOffset(topic, partition, oldest, "")
	case at < oldest:
		if err := s.lose(session.Context(), Loss{topic, partition, s.o.Spec.Sink, at, oldest}); err != nil {
			return err
		}
		log.Error("records lost: they were removed before they were handled", "lost", oldest-at)
		session.MarkOffset(topic, partition, oldest, "")
	case at > newest:
		log.Warn("committed offset is beyond the newest record: the topic was made anew, or its brokers have lost records", "newest_offset", newest)
		session.ResetOffset(topic, partition, oldest, "") // or nothing would be committed up to it
	}
	return nil
}

// lose records a loss, for good, before the source goes on.
func (s *Source) lose(ctx context.Context, l Loss) error {
	if s.o.Lost != nil {
		if err := s.o.Lost(ctx, l); err != nil {
			return fmt.Errorf("record that offsets %d to %d of %s/%d were lost: %w", l.From, l.To-1, l.Topic, l.Partition, err)
		}
	}
	s.o.Metrics.CountLost(l.Topic, l.Consumer, int(l.To-l.From))
	return nil
}
