// Package deadletter lists dead letters for operators, and replays them to the consumer that failed, parks or discards them.
// It only reads the topics: the state of a letter follows from the actions recorded in the schema operations.
package deadletter

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
)

// Place is the position of a record.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

func (p Place) String() string { return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset) }

// State is the state of a letter.
type State string

// The states. A letter begins open; a failed replay leaves it open.
const (
	Open      State = "open"
	Parked    State = "parked"    // held back on purpose, by an operator or after too many failures
	Discarded State = "discarded" // given up
	Replayed  State = "replayed"  // its consumer has handled it
)

// States lists all states.
var States = []State{Open, Parked, Discarded, Replayed}

// Summary is what is known of a letter without its contents.
type Summary struct {
	Place

	// Consumer is the function that failed, empty if the record does not name it.
	Consumer string
	// Forged means that no source of the wiring has the consumer, the original topic and this dead-letter topic together: no
	// source wrote the letter, or the wiring has changed since. It is not replayed.
	Forged bool
	// Key is the key of the original record, usually the order id; empty without one. The end of a very long one is a hash.
	Key string
	// EventType, EventSource and EventID are those of the event that the consumer got.
	EventType, EventSource, EventID string
	// Origin is the position of the original record, as far as known; its offset is -1 if unknown.
	Origin Place
	// Attempts is the number of failed deliveries; 0 if unknown, as for Knative's letters.
	Attempts int
	// Status and Error are the last answer of the consumer.
	Status int
	Error  string
	// Cut is how much of the record is missing, empty if it is whole: a cut letter cannot be replayed.
	Cut string
	// At is when the letter was written.
	At time.Time
	// Size is the length of the record's value, in bytes.
	Size int

	State State
	// Failures is the number of failed replays since it was last opened.
	Failures int
}

// Letter is a dead letter, written by the harness or by Knative.
type Letter struct {
	Summary

	// Event is the event that the consumer got, without the headers of the dead letter.
	Event event.Event
	// Record is the record of the letter.
	Record *sarama.ConsumerMessage
	// Readable is the data of an event in Avro as JSON; for any other event it is the value of the record. NotReadable says why
	// it is the value of the record for an event in Avro.
	Readable    []byte
	NotReadable error
	// History has the actions on it, oldest first.
	History []operations.DeadLetterAction
}

// The headers that Knative adds to a dead letter besides kafka.HeaderStatus; the data is base64. KafkaSource's own two give
// the position of the record.
const (
	knativeErrorDest = "ce_knativeerrordest"
	knativeErrorData = "ce_knativeerrordata"
	knativePartition = "ce_knativekafkapartition"
	knativeOffset    = "ce_knativekafkaoffset"
)

// added has the headers that restore removes.
var (
	addedByHarness = []string{
		kafka.HeaderConsumer, kafka.HeaderTopic, kafka.HeaderPartition, kafka.HeaderOffset,
		kafka.HeaderAttempts, kafka.HeaderError, kafka.HeaderTime, kafka.HeaderStatus, kafka.HeaderCut,
	}
	addedByKnative = []string{
		kafka.HeaderConsumer, kafka.HeaderStatus, knativeErrorDest, knativeErrorData, knativePartition, knativeOffset,
	}
)

// parse reads a letter. It ignores headers with invalid values: anybody may write to a topic.
func parse(m *sarama.ConsumerMessage, sources []knative.KafkaSource) Letter {
	said := map[string]string{}
	for _, h := range m.Headers {
		said[string(h.Key)] = string(h.Value)
	}
	l := Letter{Record: m, Summary: Summary{
		Place: Place{m.Topic, m.Partition, m.Offset}, Consumer: said[kafka.HeaderConsumer], State: Open, Size: len(m.Value),
		Attempts: int(number(said, kafka.HeaderAttempts, 0)), Status: int(number(said, kafka.HeaderStatus, 0)), At: m.Timestamp,
	}}
	added := addedByKnative
	if topic, ok := said[kafka.HeaderTopic]; ok {
		added = addedByHarness
		l.Origin = Place{topic, int32(number(said, kafka.HeaderPartition, -1)), number(said, kafka.HeaderOffset, -1)}
		l.Error, l.Cut = said[kafka.HeaderError], said[kafka.HeaderCut]
		if at, err := time.Parse(time.RFC3339Nano, said[kafka.HeaderTime]); err == nil {
			l.At = at
		}
	} else {
		l.Origin = Place{originalTopic(m.Topic, l.Consumer, sources), int32(number(said, knativePartition, -1)), number(said, knativeOffset, -1)}
		if text, err := base64.StdEncoding.DecodeString(said[knativeErrorData]); err == nil {
			l.Error = string(text)
		}
	}
	l.Forged = l.Consumer != "" && !slices.ContainsFunc(sources, func(s knative.KafkaSource) bool {
		return s.Sink == l.Consumer && s.Topic == l.Origin.Topic && s.Delivery.DeadLetter == m.Topic
	})
	l.Event = restore(m, l, added, sources)
	l.EventType, l.EventSource, l.EventID = l.Event.Type(), l.Event.Source(), l.Event.ID()
	key := string(m.Key)
	if extension, ok := l.Event.Extensions()["partitionkey"].(string); ok && m.Key == nil {
		key = extension // the only place where KafkaSource keeps the record's key
	}
	l.Key = shorten(key)
	return l
}

// maxKey is the length of a key that is kept as it is, in bytes.
const maxKey = 256

// shorten replaces the end of a key that is too long by a hash.
func shorten(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey/2] + "…" + hex.EncodeToString(sum[:16])
}

// number reads a header with a number; fallback applies unless it is one from 0 on.
func number(said map[string]string, name string, fallback int64) int64 {
	n, err := strconv.ParseInt(said[name], 10, 64)
	if err != nil || n < 0 {
		return fallback
	}
	return n
}

// originalTopic returns the topic whose dead letters, for one consumer, are in a dead-letter topic.
func originalTopic(deadLetters, consumer string, sources []knative.KafkaSource) string {
	for _, s := range sources {
		if s.Delivery.DeadLetter == deadLetters && s.Sink == consumer {
			return s.Topic
		}
	}
	return strings.TrimSuffix(deadLetters, knative.DeadLetterSuffix)
}

// restore returns the event that the source gave to the consumer.
func restore(m *sarama.ConsumerMessage, l Letter, added []string, sources []knative.KafkaSource) event.Event {
	original := &sarama.ConsumerMessage{
		Topic: l.Origin.Topic, Partition: l.Origin.Partition, Offset: l.Origin.Offset, Key: m.Key, Value: m.Value,
	}
	for _, h := range m.Headers {
		if !slices.Contains(added, string(h.Key)) {
			original.Headers = append(original.Headers, h)
		}
	}
	source := knative.KafkaSource{Name: l.Consumer + "." + l.Origin.Topic, Namespace: "orders"}
	for _, s := range sources {
		if s.Topic == l.Origin.Topic && s.Sink == l.Consumer {
			source = s
		}
	}
	e := kafka.Decode(original, source.Namespace, source.Name)
	if l.Origin.Offset < 0 || l.Origin.Partition < 0 {
		e.SetExtension("knativekafkapartition", nil)
		e.SetExtension("knativekafkaoffset", nil)
	}
	for name, value := range source.Extensions {
		e.SetExtension(name, value)
	}
	if l.Consumer != "" {
		e.SetExtension("consumer", l.Consumer)
	}
	return e
}

// Follow determines the state of a letter from the actions at its place, oldest first.
func (l *Letter) Follow(actions []operations.DeadLetterAction) {
	l.State, l.Failures, l.History = Open, 0, nil
	for _, a := range actions {
		if l.isAbout(a.Consumer, a.EventSource, a.EventID) {
			l.History = append(l.History, a)
			l.apply(a.Action)
		}
	}
}

// isAbout returns whether an action at the letter's place is about this letter, and not about an earlier record at this
// position, before the topic was recreated.
func (s *Summary) isAbout(consumer, source, id string) bool {
	ownConsumer, ownSource, ownID := s.identity()
	return consumer == ownConsumer && source == ownSource && id == ownID
}

// apply changes the state by an action.
func (s *Summary) apply(action operations.DeadLetterActionsAction) {
	switch action {
	case operations.DeadLetterActionsActionREPLAYSTARTED:
		s.State = Open // the effect of an unfinished replay is unknown: it can be repeated
	case operations.DeadLetterActionsActionREPLAYFAILED:
		s.State = Open
		s.Failures++
	case operations.DeadLetterActionsActionREOPENED:
		s.State, s.Failures = Open, 0
	case operations.DeadLetterActionsActionREPLAYED:
		s.State = Replayed
	case operations.DeadLetterActionsActionPARKED:
		s.State = Parked
	case operations.DeadLetterActionsActionDISCARDED:
		s.State = Discarded
	}
}

// identity returns what identifies a letter in its actions, besides the place, cut to the columns' widths.
func (s *Summary) identity() (consumer, source, id string) {
	return oneline.Of(s.Consumer, 64), oneline.Of(s.EventSource, 255), oneline.Of(s.EventID, 255)
}
