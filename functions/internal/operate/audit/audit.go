// Package audit checks the invariants of orders, stock and events: available + reserved is the sum of stock_log and never
// below zero; orders hold exactly their lines while CONFIRMED, and nothing once FAILED or CANCELED; totals are the sums of
// the lines; every accepted order has its facts and ends within the saga timeout; every SENT row is in Kafka; no record is
// lost; nothing takes effect twice.
//
// It reads the database in one consistent snapshot, and the topics, and writes to neither. Its report has each invariant
// with its numbers and breaches, and the dead letters and parked rows that explain differences.
package audit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/schema"
)

// Options configures an audit.
type Options struct {
	Server schema.Server
	// Brokers has the brokers of the topics, each host:port. Without them the audit reads only the database.
	Brokers []string
	// Wiring has the topics and consumer groups, whose names include TopicPrefix.
	Wiring      *knative.Wiring
	TopicPrefix string
	// Grace is how long after its last change an order may still be in flight. An order with events that are not sent, or
	// not handled by every consumer group, is in flight in any case; with the topics at hand it needs no grace.
	Grace time.Duration
	// SagaTimeout is how long an order may be pending.
	SagaTimeout time.Duration
	// SentRetention is how long a sent outbox row is kept.
	SentRetention time.Duration
	Now           func() time.Time
}

// Configure reads the configuration of the functions: MYSQL_DSN, MYSQL_SCHEMA_PREFIX, KAFKA_BROKERS, KAFKA_TOPIC_PREFIX, and
// SAGA_TIMEOUT and OUTBOX_RETENTION, which default to the values in the manifests.
func Configure(config map[string]string, grace time.Duration) (o Options, err error) {
	o = Options{TopicPrefix: config["KAFKA_TOPIC_PREFIX"], Grace: grace, Now: time.Now}
	if grace < 0 {
		return o, fmt.Errorf("the grace period is %s: give zero or more", grace)
	}
	if o.Server, _, err = base.Server(config); err != nil {
		return o, err
	}
	if brokers := config["KAFKA_BROKERS"]; brokers != "" {
		if o.Brokers, err = kafka.ParseBrokers(brokers); err != nil {
			return o, err
		}
	}
	if o.Wiring, err = knative.Load(knative.Base()); err != nil {
		return o, err
	}
	if o.SagaTimeout, err = setting(config, o.Wiring, "SAGA_TIMEOUT", 15*time.Minute); err != nil {
		return o, err
	}
	if o.SentRetention, err = setting(config, o.Wiring, "OUTBOX_RETENTION", 8*24*time.Hour); err != nil {
		return o, err
	}
	o.Wiring, err = o.Wiring.WithTopicPrefix(o.TopicPrefix)
	return o, err
}

// setting returns the shortest duration among the functions' values of a variable, or the one of config for all of them.
func setting(config map[string]string, wiring *knative.Wiring, name string, fallback time.Duration) (time.Duration, error) {
	shortest := time.Duration(0)
	for _, service := range wiring.Services {
		if service.Env[name] == "" {
			continue
		}
		d, err := base.Duration(service.Env, name, fallback)
		if err != nil {
			return 0, err
		}
		if shortest == 0 || d < shortest {
			shortest = d
		}
	}
	if shortest == 0 {
		shortest = fallback
	}
	return base.Duration(config, name, shortest)
}

// auditor is a running audit.
type auditor struct {
	o        Options
	at       time.Time
	snapshot *snapshot
	hashes   hasher
	records  *records        // nil without the topics
	consumed map[place]int64 // the lowest offset that some consumer group of the topic has not handled
	ahead    []kafka.Loss    // records that were removed from their topic before their consumer reached them

	facts     map[string]map[uint64]emittedFacts // by source and hash of the order
	outboxes  map[string]string                  // by source: the schema whose outbox has its facts
	waiting   map[uint64]struct{}                // orders with events that are not sent, or not handled by every group
	explained map[uint64]struct{}                // orders with events that wait for an operator
	logged    map[string]int64                   // reserved units of each SKU, by reservation_log

	stock, reserved, holdings, totals, emitted, ends, sent, lost, once *Invariant
	exceptions                                                         []Exception
}

// Run audits once. An error means that it could not read something, and says nothing about the invariants.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	begin := time.Now()
	a := &auditor{
		o: o, at: o.Now(), hashes: hasher{maphash.MakeSeed()},
		facts: map[string]map[uint64]emittedFacts{}, outboxes: map[string]string{}, waiting: map[uint64]struct{}{}, explained: map[uint64]struct{}{}, logged: map[string]int64{},
	}
	all := a.invariants()
	if err := a.look(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	defer func() {
		if closed := a.snapshot.end(ctx); closed != nil {
			err = errors.Join(err, fmt.Errorf("audit: %w", closed))
		}
	}()
	for _, check := range []func(context.Context) error{a.walkOutboxes, a.walkOrders, a.checkStock, a.checkKeys, a.checkLost} {
		if err := check(ctx); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
	return &Report{At: a.at.UTC(), Took: time.Since(begin), Invariants: all, Exceptions: a.exceptions}, nil
}

func (a *auditor) invariants() []*Invariant {
	invariant := func(name, says string) *Invariant {
		return &Invariant{Name: name, Says: says, Numbers: map[string]int{}, Breaches: []string{}, Explained: []string{}}
	}
	a.stock = invariant(Stock, "available + reserved of a SKU = the sum of stock_log, and neither is below zero")
	a.reserved = invariant(Reserved, "reserved of a SKU = the sum of reservation_log")
	a.holdings = invariant(Holdings, "a CONFIRMED order holds exactly its lines, a FAILED or CANCELED one nothing")
	a.totals = invariant(Totals, "the total of an order = the sum of its lines")
	a.emitted = invariant(Facts, "every order has its order.created, and its facts are numbered from 1 to its version")
	a.ends = invariant(Ends, "every order ends within the saga timeout")
	a.sent = invariant(Sent, "every SENT event is in Kafka, where its row says")
	a.lost = invariant(Lost, "no record was removed from a topic before its consumers had handled it")
	a.once = invariant(Once, "no event, reservation, release, notification or request takes effect twice")
	return []*Invariant{a.stock, a.reserved, a.holdings, a.totals, a.emitted, a.ends, a.sent, a.lost, a.once}
}

// look takes the snapshot and reads the topics. The snapshot contains the effects of everything that a consumer group
// committed before it; the topics, read afterwards, contain everything that is sent in the snapshot.
func (a *auditor) look(ctx context.Context) (err error) {
	if len(a.o.Brokers) == 0 {
		a.sent.Skipped = "the topics were not read"
		a.snapshot, err = take(ctx, a.o.Server)
		return err
	}
	reader, err := kafka.NewReader(a.o.Brokers)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // only read, so nothing is lost
	if a.consumed, a.ahead, err = consumed(reader, a.o.Wiring.Sources); err != nil {
		return err
	}
	if a.snapshot, err = take(ctx, a.o.Server); err != nil {
		return err
	}
	a.records, err = a.readTopics(ctx, reader)
	if err != nil {
		return errors.Join(err, a.snapshot.end(ctx))
	}
	a.records.compare(a.once)
	a.exceptions = a.records.exceptions()
	for order := range a.records.set {
		a.explained[order] = struct{}{}
	}
	return nil
}

func (a *auditor) readTopics(ctx context.Context, reader *kafka.Reader) (*records, error) {
	names := make([]string, len(a.o.Wiring.Topics))
	for i, topic := range a.o.Wiring.Topics {
		names[i] = topic.Name
	}
	all, err := spans(reader, names)
	if err != nil {
		return nil, err
	}
	replayed, err := a.readReplayed(ctx)
	if err != nil {
		return nil, err
	}
	return load(ctx, reader, a.hashes, all, replayed, func(topic string) bool {
		return slices.ContainsFunc(a.o.Wiring.Sources, func(s knative.KafkaSource) bool { return s.Delivery.DeadLetter == topic })
	})
}

// replayedPage is the number of replays in one query.
const replayedPage = 5000

// readReplayed reads which dead letters were replayed successfully, as far as known.
func (a *auditor) readReplayed(ctx context.Context) (map[uint64]struct{}, error) {
	if err := a.snapshot.use(ctx, schema.Operations); err != nil {
		return nil, err
	}
	replayed := map[uint64]struct{}{}
	q := operations.New(a.snapshot.conn)
	for after := int64(0); ; {
		rows, err := q.ListReplayed(ctx, operations.ListReplayedParams{ID: after, Limit: replayedPage})
		if err != nil {
			return nil, fmt.Errorf("read which dead letters were replayed: %w", err)
		}
		for _, row := range rows {
			after = row.ID
			replayed[a.hashes.replay(row.Topic, int32(row.KafkaPartition), row.KafkaOffset, row.Consumer, row.EventSource, row.EventID)] = struct{}{}
			replayed[a.hashes.replay(row.Topic, int32(row.KafkaPartition), row.KafkaOffset, row.Consumer, "", "")] = struct{}{}
		}
		if len(rows) < replayedPage {
			return replayed, nil
		}
	}
}

// consumed asks how far every consumer group has come, and what was removed from the topics beyond that.
func consumed(reader *kafka.Reader, sources []knative.KafkaSource) (lowest map[place]int64, ahead []kafka.Loss, err error) {
	lowest = map[place]int64{}
	for _, source := range sources {
		spans, err := reader.Spans(source.Topic) // before the offsets, so that the spans contain what a group reaches meanwhile
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			continue // a missing topic has nothing to handle
		}
		if err != nil {
			return nil, nil, err
		}
		offsets, err := reader.Offsets(source.Group, source.Topic)
		if err != nil {
			return nil, nil, err
		}
		for _, span := range spans {
			offset := offsets[span.Partition]
			if 0 <= offset && offset < span.From {
				ahead = append(ahead, kafka.Loss{Topic: source.Topic, Partition: span.Partition, Consumer: source.Sink, From: offset, To: span.From})
			}
			at := place{source.Topic, span.Partition}
			offset = max(0, offset)
			if before, ok := lowest[at]; ok {
				offset = min(offset, before)
			}
			lowest[at] = offset
		}
	}
	return lowest, ahead, nil
}

// differ records a difference of an order: a breach, unless an exception or a change in flight explains it.
func (a *auditor) differ(i *Invariant, order, format string, args ...any) {
	if _, ok := a.explained[a.hashes.of(order)]; ok {
		i.explain(format, args...)
		return
	}
	i.breach(format, args...)
}
