package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
)

// Suffix ends the name of a dead-letter topic.
const Suffix = ".dlq"

// Box is where letters are.
type Box struct {
	Reader *kafka.Reader
	// Sources are those of the wiring: which topics have dead letters, and what a source adds to an event.
	Sources []knative.KafkaSource
	Journal *Journal
}

// Selector picks letters; what is zero or nil picks all.
type Selector struct {
	// Topic is the full name of a dead-letter topic.
	Topic     string
	Partition *int32
	Offset    *int64
	Consumer  string
	Key       string
	States    []State
	// Newest is how many records at the end of each partition are looked at.
	Newest int64
}

// Find returns the letters that were there when it began and that s picks, ordered by their places. A topic that s
// names must be there.
func (b Box) Find(ctx context.Context, s Selector) ([]Letter, error) {
	topics := []string{s.Topic}
	if s.Topic == "" {
		topics = b.topics()
	}
	var found []Letter
	for _, topic := range topics {
		spans, err := b.Reader.Spans(topic)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) && s.Topic == "" {
			continue // nothing was set aside there yet
		}
		if err != nil {
			return nil, err
		}
		for _, span := range spans {
			letters, err := b.read(ctx, s.narrow(span), s)
			if err != nil {
				return nil, err
			}
			found = append(found, letters...)
		}
	}
	return found, nil
}

// topics lists the dead-letter topics of the wiring.
func (b Box) topics() []string {
	var topics []string
	for _, source := range b.Sources {
		topics = append(topics, source.Delivery.DeadLetter)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// narrow leaves of a span what s picks.
func (s Selector) narrow(span kafka.Span) kafka.Span {
	if s.Partition != nil && span.Partition != *s.Partition {
		span.To = span.From
	}
	if s.Offset != nil {
		span.From, span.To = max(span.From, *s.Offset), min(span.To, *s.Offset+1)
	}
	if s.Newest > 0 {
		span.From = max(span.From, span.To-s.Newest)
	}
	return span
}

func (b Box) read(ctx context.Context, span kafka.Span, s Selector) ([]Letter, error) {
	if span.From >= span.To {
		return nil, nil
	}
	actions, err := b.Journal.actions(ctx, span)
	if err != nil {
		return nil, err
	}
	var found []Letter
	err = b.Reader.Read(ctx, span, func(m *sarama.ConsumerMessage) error {
		l := parse(m, b.Sources)
		l.follow(actions[m.Offset])
		if s.picks(l) {
			found = append(found, l)
		}
		return nil
	})
	return found, err
}

func (s Selector) picks(l Letter) bool {
	return (s.Consumer == "" || s.Consumer == l.Consumer) && (s.Key == "" || s.Key == l.Key) &&
		(len(s.States) == 0 || slices.Contains(s.States, l.State))
}

// Lanes puts letters into the order in which they are replayed: by key, those first whose first letter is the oldest.
// Within a key they go by the order's version, the n of an id like key#n, when one source tells them all; numbers of
// different sources do not compare, and then they go by where the original records are. A letter without a key is
// alone.
func Lanes(letters []Letter) [][]Letter {
	lanes := map[string][]Letter{}
	for _, l := range letters {
		lanes[l.lane()] = append(lanes[l.lane()], l)
	}
	ordered := make([][]Letter, 0, len(lanes))
	for _, lane := range lanes {
		slices.SortFunc(lane, byOrigin)
		if versions, ok := versionsOf(lane); ok {
			slices.SortStableFunc(lane, func(a, b Letter) int { return cmp.Compare(versions[a.Place], versions[b.Place]) })
		}
		ordered = append(ordered, lane)
	}
	slices.SortFunc(ordered, func(a, b []Letter) int {
		return cmp.Or(oldest(a).At.Compare(oldest(b).At), byOrigin(a[0], b[0]))
	})
	return ordered
}

// lane is what a letter shares with those that have to keep an order with it.
func (l *Letter) lane() string {
	if l.Key == "" {
		return "place " + l.String()
	}
	return "key " + l.Key
}

func oldest(letters []Letter) Letter {
	return slices.MinFunc(letters, func(a, b Letter) int { return a.At.Compare(b.At) })
}

func byOrigin(a, b Letter) int {
	return cmp.Or(
		cmp.Compare(a.Origin.Topic, b.Origin.Topic), cmp.Compare(a.Origin.Partition, b.Origin.Partition),
		cmp.Compare(a.Origin.Offset, b.Origin.Offset), cmp.Compare(a.Topic, b.Topic),
		cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset),
	)
}

// versionsOf returns the n of each letter's id, unless one has none or they are of several sources.
func versionsOf(lane []Letter) (map[Place]int, bool) {
	versions := map[Place]int{}
	for _, l := range lane {
		_, n, ok := strings.Cut(l.Event.ID(), "#")
		version, err := strconv.Atoi(n)
		if !ok || err != nil || l.Event.Source() != lane[0].Event.Source() {
			return nil, false
		}
		versions[l.Place] = version
	}
	return versions, true
}

// actions reads what was done about the letters of a span, by their offsets.
func (j *Journal) actions(ctx context.Context, span kafka.Span) (map[int64][]operations.DeadLetterAction, error) {
	rows, err := operations.New(j.conn).ListLetterActions(ctx, operations.ListLetterActionsParams{
		Topic: span.Topic, KafkaPartition: int(span.Partition), FirstOffset: span.From, LastOffset: span.To - 1,
	})
	if err != nil {
		return nil, fmt.Errorf("read what was done about the letters of %s/%d (harness migrate makes the schema): %w", span.Topic, span.Partition, err)
	}
	by := map[int64][]operations.DeadLetterAction{}
	for _, row := range rows {
		by[row.KafkaOffset] = append(by[row.KafkaOffset], row)
	}
	return by, nil
}
