package personal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// Reader reads topics, and how far their consumers are.
type Reader interface {
	deadletter.Reader
	Committed(group, topic string) (map[int32]int64, error)
}

// Topic is a topic with records about the customer.
type Topic struct {
	Name    string
	Records int
	// Last is the time of the newest of the records.
	Last time.Time
	// GoneBy is when the broker has deleted all of them.
	GoneBy time.Time
}

// rolled is how long a broker adds records to a segment, by default: it deletes whole segments, when the newest record of one is
// older than the retention. checked is how often it looks for them.
const (
	rolled  = 7 * 24 * time.Hour
	checked = 5 * time.Minute
)

// findRecords reads the topics for records about the customer's orders, or with an address, and finds those that a consumer has
// yet to handle, or that an operator may replay: each would bring the address back.
func (d Desk) findRecords(ctx context.Context, found *Found) error {
	for _, declared := range d.Wiring.Topics {
		spans, err := d.Reader.Spans(declared.Name)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			continue
		}
		if err != nil {
			return err
		}
		next, err := d.next(declared.Name)
		if err != nil {
			return err
		}
		topic := Topic{Name: declared.Name}
		for _, span := range spans {
			err := d.Reader.Read(ctx, span, func(m *sarama.ConsumerMessage) error {
				order := string(m.Key)
				linked := found.search.ids[order]
				if !linked && (!found.search.byAddress || !found.search.words.in(string(m.Value))) {
					return nil
				}
				topic.Records++
				if m.Timestamp.After(topic.Last) {
					topic.Last = m.Timestamp
				}
				for consumer, offsets := range next {
					if m.Offset >= offsets[m.Partition] {
						found.UnderWay = append(found.UnderWay, fmt.Sprintf("order %s: %s has not handled %s/%d/%d: wait, or see harness health",
							order, consumer, m.Topic, m.Partition, m.Offset))
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if topic.Records == 0 {
			continue
		}
		milliseconds, err := strconv.ParseInt(declared.Config["retention.ms"], 10, 64)
		if err != nil {
			return fmt.Errorf("retention.ms of %s: %w", declared.Name, err)
		}
		topic.GoneBy = topic.Last.Add(time.Duration(milliseconds)*time.Millisecond + rolled + checked)
		found.Topics = append(found.Topics, topic)
	}
	return d.findLetters(ctx, found)
}

// next returns the offset that each consumer of a topic handles next, by partition.
func (d Desk) next(topic string) (map[string]map[int32]int64, error) {
	next := map[string]map[int32]int64{}
	for _, source := range d.Wiring.Sources {
		if source.Topic != topic {
			continue
		}
		offsets, err := d.Reader.Committed(source.Group, topic)
		if err != nil {
			return nil, err
		}
		next[source.Sink] = offsets
	}
	return next, nil
}

// findLetters finds the dead letters about the customer that wait for an operator.
func (d Desk) findLetters(ctx context.Context, found *Found) error {
	box := deadletter.Box{Reader: d.Reader, Sources: d.Wiring.Sources, Operations: d.DB[schema.Operations]}
	if !slices.ContainsFunc(found.Topics, func(t Topic) bool { return strings.HasSuffix(t.Name, knative.DeadLetterSuffix) }) {
		return nil
	}
	letters, err := box.Find(ctx, deadletter.Selector{States: []deadletter.State{deadletter.Open, deadletter.Parked}})
	if err != nil {
		return err
	}
	for _, l := range letters {
		if found.search.ids[l.Key] {
			found.UnderWay = append(found.UnderWay, fmt.Sprintf("order %s: the dead letter %s/%d/%d of %s is %s: replay or discard it (harness deadletters discard --order %s)",
				l.Key, l.Topic, l.Partition, l.Offset, l.Consumer, l.State, l.Key))
		}
	}
	return nil
}
