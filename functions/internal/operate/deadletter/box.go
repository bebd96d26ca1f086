package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
)

// Reader reads the records of topics.
type Reader interface {
	Spans(topic string) ([]kafka.Span, error)
	Read(ctx context.Context, span kafka.Span, visit func(*sarama.ConsumerMessage) error) error
}

// Box reads the dead letters of a wiring.
type Box struct {
	Reader Reader
	// Sources are those of the wiring: they determine the dead-letter topics, and what a source adds to an event.
	Sources []knative.KafkaSource
	// Operations is a connection to the schema operations, or a pool.
	Operations operations.DBTX
	// Avro reads the data of events in Avro; it may be nil.
	Avro *registry.Reader
}

// Selector selects letters; a zero or nil field selects all.
type Selector struct {
	// Topic is the full name of a dead-letter topic.
	Topic     string
	Partition *int32
	Offset    *int64
	Consumer  string
	Key       string
	// Group is the ID of a Group.
	Group  string
	States []State
}

// Find returns the letters that s selects among those that existed at its start, sorted by place. A topic that s names must
// exist.
func (b Box) Find(ctx context.Context, s Selector) ([]Summary, error) {
	spans, err := b.spans(s.Topic)
	if err != nil {
		return nil, err
	}
	for i := range spans {
		spans[i] = s.narrow(spans[i])
	}
	parts := make([][]Summary, len(spans))
	err = each(len(spans), func(i int) error {
		if spans[i].From >= spans[i].To {
			return nil
		}
		return b.Reader.Read(ctx, spans[i], func(m *sarama.ConsumerMessage) error {
			if l := parse(m, b.Sources); s.mayPick(l.Summary) {
				parts[i] = append(parts[i], l.Summary)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	var found []Summary
	for i, span := range spans {
		if len(parts[i]) == 0 {
			continue
		}
		actions, err := actionsOn(ctx, b.Operations, span)
		if err != nil {
			return nil, err
		}
		for _, l := range parts[i] {
			followed := Letter{Summary: l}
			followed.Follow(actions[l.Offset])
			if len(s.States) == 0 || slices.Contains(s.States, followed.State) {
				found = append(found, followed.Summary)
			}
		}
	}
	return found, nil
}

// spans returns the spans of a dead-letter topic, or of all those of the wiring.
func (b Box) spans(topic string) ([]kafka.Span, error) {
	if topic != "" {
		return b.Reader.Spans(topic)
	}
	var all []kafka.Span
	for _, topic := range topics(b.Sources) {
		spans, err := b.Reader.Spans(topic)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			continue // it has no dead letters yet
		}
		if err != nil {
			return nil, err
		}
		all = append(all, spans...)
	}
	return all, nil
}

// topics lists the dead-letter topics of a wiring.
func topics(sources []knative.KafkaSource) []string {
	var topics []string
	for _, source := range sources {
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
	return span
}

// mayPick returns whether s selects a letter, whatever its state is.
func (s Selector) mayPick(l Summary) bool {
	return (s.Consumer == "" || s.Consumer == l.Consumer) && (s.Key == "" || s.Key == l.Key) && (s.Group == "" || s.Group == GroupOf(l))
}

// gap is how many records of a partition between two letters are read in vain rather than with another read: a read costs as
// much time as some thousand records.
const gap = 5000

// Load returns the letters at places, as far as their topics still have them, sorted by place. It reads each partition once,
// from the first to the last of its places, unless they are far apart.
func (b Box) Load(ctx context.Context, places []Place) ([]Letter, error) {
	places = slices.Clone(places)
	slices.SortFunc(places, byPlace)
	places = slices.Compact(places)
	existing, err := b.existing(places)
	if err != nil {
		return nil, err
	}
	var partitions [][]kafka.Span // a reader reads a partition once at a time
	var wanted []operations.LetterPlace
	for _, p := range places {
		if span, ok := existing[Place{p.Topic, p.Partition, 0}]; !ok || p.Offset < span.From || p.Offset >= span.To {
			continue
		}
		wanted = append(wanted, operations.LetterPlace(p))
		next := kafka.Span{Topic: p.Topic, Partition: p.Partition, From: p.Offset, To: p.Offset + 1}
		if n := len(partitions) - 1; n < 0 || partitions[n][0].Topic != p.Topic || partitions[n][0].Partition != p.Partition {
			partitions = append(partitions, []kafka.Span{next})
		} else if last := &partitions[n][len(partitions[n])-1]; p.Offset-last.To < gap {
			last.To = next.To
		} else {
			partitions[n] = append(partitions[n], next)
		}
	}
	parts := make([][]Letter, len(partitions))
	err = each(len(partitions), func(i int) error {
		for _, span := range partitions[i] {
			err := b.Reader.Read(ctx, span, func(m *sarama.ConsumerMessage) error {
				if _, ok := slices.BinarySearchFunc(places, Place{m.Topic, m.Partition, m.Offset}, byPlace); ok {
					parts[i] = append(parts[i], parse(m, b.Sources))
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	letters := slices.Concat(parts...)
	actions, err := actionsOf(ctx, b.Operations, wanted)
	if err != nil {
		return nil, err
	}
	for i := range letters {
		letters[i].Follow(actions[letters[i].Place])
		letters[i].read(ctx, b.Avro)
	}
	return letters, nil
}

// read sets Readable and NotReadable.
func (l *Letter) read(ctx context.Context, avro *registry.Reader) {
	l.Readable = l.Record.Value
	if l.Event.DataMediaType() != registry.MediaType {
		return
	}
	e, err := avro.JSON(ctx, l.Event)
	if err != nil {
		l.NotReadable = err
		return
	}
	l.Readable = e.Data()
}

// existing returns the spans of the partitions of places, by the place at offset 0.
func (b Box) existing(places []Place) (map[Place]kafka.Span, error) {
	existing := map[Place]kafka.Span{}
	for i, p := range places {
		if i > 0 && places[i-1].Topic == p.Topic {
			continue
		}
		spans, err := b.Reader.Spans(p.Topic)
		if err != nil {
			return nil, err
		}
		for _, span := range spans {
			existing[Place{span.Topic, span.Partition, 0}] = span
		}
	}
	return existing, nil
}

// reads bounds the partitions that are read at the same time.
const reads = 8

// each calls do for 0 to n-1, some at a time, and returns the first error.
func each(n int, do func(i int) error) error {
	var group sync.WaitGroup
	errs := make([]error, n)
	slots := make(chan struct{}, reads)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			errs[i] = do(i)
			<-slots
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// actionsOn reads the actions on the letters of a span, by offset.
func actionsOn(ctx context.Context, db operations.DBTX, span kafka.Span) (map[int64][]operations.DeadLetterAction, error) {
	rows, err := operations.New(db).ListLetterActions(ctx, operations.ListLetterActionsParams{
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

// actionsOf reads the actions on letters, by place.
func actionsOf(ctx context.Context, db operations.DBTX, places []operations.LetterPlace) (map[Place][]operations.DeadLetterAction, error) {
	by := map[Place][]operations.DeadLetterAction{}
	if len(places) == 0 {
		return by, nil
	}
	rows, err := operations.New(db).ListActionsOfLetters(ctx, places)
	if err != nil {
		return nil, fmt.Errorf("read the actions on dead letters (harness migrate creates the schema): %w", err)
	}
	for _, row := range rows {
		p := Place{row.Topic, int32(row.KafkaPartition), row.KafkaOffset}
		by[p] = append(by[p], row)
	}
	return by, nil
}
