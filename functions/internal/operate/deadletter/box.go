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

// Box reads the dead letters of a wiring.
type Box struct {
	Reader *kafka.Reader
	// Sources are those of the wiring: they determine the dead-letter topics, and what a source adds to an event.
	Sources []knative.KafkaSource
	Journal *Journal
}

// Selector selects letters; a zero or nil field selects all.
type Selector struct {
	// Topic is the full name of a dead-letter topic.
	Topic     string
	Partition *int32
	Offset    *int64
	Consumer  string
	Key       string
	States    []State
	// Newest bounds the search to the last records of each partition.
	Newest int64
}

// Find returns the letters that s selects among those that existed at its start, sorted by place. A topic that s names must
// exist.
func (b Box) Find(ctx context.Context, s Selector) ([]Letter, error) {
	topics := []string{s.Topic}
	if s.Topic == "" {
		topics = b.topics()
	}
	var found []Letter
	for _, topic := range topics {
		spans, err := b.Reader.Spans(topic)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) && s.Topic == "" {
			continue // it has no dead letters yet
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

// narrow reduces a span to what s selects.
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

// Lanes sorts letters into the order of a replay: by key, the key with the oldest letter first. Within a key they are sorted
// by the order's version, the n of an id like key#n, if all have one source; versions of different sources cannot be
// compared, so otherwise they are sorted by the positions of the original records. A letter without a key is alone.
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

// lane returns the key of letters that must be replayed in order.
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

// versionsOf returns the n of each letter's id, or nil if one has none or they have several sources.
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

// actions reads the actions on the letters of a span, by offset.
func (j *Journal) actions(ctx context.Context, span kafka.Span) (map[int64][]operations.DeadLetterAction, error) {
	rows, err := operations.New(j.conn).ListLetterActions(ctx, operations.ListLetterActionsParams{
		Topic: span.Topic, KafkaPartition: int(span.Partition), FirstOffset: span.From, LastOffset: span.To - 1,
	})
	if err != nil {
		return nil, fmt.Errorf("read the actions on the letters of %s/%d (harness migrate creates the schema): %w", span.Topic, span.Partition, err)
	}
	by := map[int64][]operations.DeadLetterAction{}
	for _, row := range rows {
		by[row.KafkaOffset] = append(by[row.KafkaOffset], row)
	}
	return by, nil
}
