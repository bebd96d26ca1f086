// Package audit checks the invariants of orders, stock and events: available + reserved is the sum of stock_log and never
// below zero; orders hold exactly their lines while CONFIRMED, and nothing once FAILED or CANCELED; totals are the sums of
// the lines; every accepted order has its facts and ends within the saga timeout; every SENT row is in Kafka; no record is
// lost; nothing takes effect twice. With payments in the wiring: an order holds its money while it is CONFIRMED, and none
// once it is FAILED or CANCELED; payment_log explains every amount, and the gateway's ledger agrees.
//
// It reads the database in one consistent snapshot, the topics beside it, and the ledger, and writes to none of them. Several
// servers with a schema or more each have a snapshot each, and orders that differ between them are read again. Its
// report has each invariant with its numbers and breaches, and the dead letters and parked rows that explain differences.
//
// Run audits everything. RunSince reads only what has changed since a Checkpoint, and says less: see since.go.
package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/schema"
)

// Options configures an audit.
type Options struct {
	Server schema.Server
	// Brokers has the brokers of the topics, each host:port. Without them the audit reads only the database.
	Brokers []string
	// Login is that of the reader of the topics; nil stands for the process's own.
	Login *kafka.Login
	// Wiring has the topics and consumer groups, whose names include TopicPrefix.
	Wiring      *knative.Wiring
	TopicPrefix string
	// Ledger is that of the payment gateway; nil if it has none.
	Ledger gateway.Ledger
	// Grace is how long after its last change an order may still be in flight. An order with events that are not sent, or
	// not handled by every consumer group, is in flight in any case; with the topics at hand it needs no grace.
	Grace time.Duration
	// SagaTimeout is how long an order may be pending.
	SagaTimeout time.Duration
	// SentRetention is how long a sent outbox row is kept.
	SentRetention time.Duration
	// Margin is how far back from a checkpoint everything is read again: transactions of that time may not have been committed.
	Margin time.Duration
	Now    func() time.Time
	// Avro reads the data of events in Avro; without it only their bytes are compared.
	Avro *registry.Reader
}

// Configure reads the configuration of the functions: MYSQL_DSN and the other variables of base.Server, KAFKA_BROKERS, KAFKA_TOPIC_PREFIX,
// KAFKA_USERS_SECRET, HARNESS_OVERLAY, PAYMENT_GATEWAY with its address, the variables of registry.Open, and SAGA_TIMEOUT and
// OUTBOX_RETENTION, which default to the values in the manifests.
func Configure(config map[string]string, grace time.Duration) (o Options, err error) {
	o = Options{TopicPrefix: config["KAFKA_TOPIC_PREFIX"], Grace: grace, Margin: defaultMargin, Now: time.Now}
	if grace < 0 {
		return o, fmt.Errorf("the grace period is %s: give zero or more", grace)
	}
	if o.Server, _, err = base.Server(config); err != nil {
		return o, err
	}
	if _, err := o.Server.Parts(); err != nil {
		return o, err
	}
	if brokers := config["KAFKA_BROKERS"]; brokers != "" {
		if o.Brokers, err = kafka.ParseBrokers(brokers); err != nil {
			return o, err
		}
		users, err := kafka.Users(config)
		if err != nil {
			return o, err
		}
		o.Login = users.Login(o.TopicPrefix + kafka.Operator)
	}
	if o.Wiring, err = knative.Configured(config); err != nil {
		return o, err
	}
	if o.Wiring.HasPayments() {
		if o.Ledger, err = gateway.OpenLedger(config); err != nil && !errors.Is(err, gateway.ErrNoLedger) {
			return o, err
		}
	}
	if o.Avro, err = registry.OpenReader(config); err != nil {
		return o, err
	}
	if o.SagaTimeout, err = setting(config, o.Wiring, "SAGA_TIMEOUT", 15*time.Minute); err != nil {
		return o, err
	}
	o.SentRetention, err = setting(config, o.Wiring, "OUTBOX_RETENTION", 8*24*time.Hour)
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
	pays     bool // orders are paid
	ledger   *ledger
	newer    *newer          // nil without a checkpoint
	topics   *loading        // nil without the topics
	consumed map[place]int64 // the lowest offset that some consumer group of the topic has not handled
	ahead    []kafka.Loss    // records that were removed from their topic before their consumer reached them

	facts     map[string]*factTable // by source
	outboxes  map[string]string     // by source: the schema whose outbox has its facts
	waiting   map[uint64]struct{}   // orders with events that are not sent, or not handled by every group
	explained map[uint64]struct{}   // orders with rows of an outbox that wait for an operator
	targets   []target              // where rows of the outboxes were sent to
	deferred  []sentRow             // rows whose records were not read yet
	unmarked  []uint64              // the hashes of the events of rows that a connector publishes, and that are not marked as sent

	again       again
	differences []difference     // of the orders that are being checked
	logged      map[string]int64 // reserved units of each SKU, by reservation_log

	stock, reserved, holdings, totals, emitted, ends, sent, lost, once *Invariant
	money, logs, gateway                                               *Invariant
	exceptions                                                         []Exception
}

// Run audits everything once. An error means that it could not read something, and says nothing about the invariants.
func Run(ctx context.Context, o Options) (*Report, error) {
	report, _, err := run(ctx, o, nil)
	return report, err
}

// run audits once, with the checkpoints in n if there are any.
func run(ctx context.Context, o Options, n *newer) (report *Report, _ *newer, err error) {
	begin := time.Now()
	a := &auditor{
		newer: n,
		o:     o, at: o.Now(), hashes: hasher{maphash.MakeSeed()}, pays: o.Wiring.HasPayments(), ledger: &ledger{from: o.Ledger},
		facts: map[string]*factTable{}, outboxes: map[string]string{}, waiting: map[uint64]struct{}{}, explained: map[uint64]struct{}{}, logged: map[string]int64{},
		again: again{o.Server, map[string]*sql.DB{}},
	}
	all := a.invariants()
	if n != nil {
		n.prepare(a)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := a.look(ctx); err != nil {
		return nil, nil, fmt.Errorf("audit: %w", err)
	}
	defer func() {
		cancel()
		if a.topics != nil {
			<-a.topics.ended
		}
		if closed := errors.Join(a.snapshot.end(ctx), a.again.close()); closed != nil {
			err = errors.Join(err, fmt.Errorf("audit: %w", closed))
		}
	}()
	for _, check := range []func(context.Context) error{a.mark, a.walkOutboxes, a.walkOrders, a.checkStock, a.checkKeys, a.checkLost, a.checkTopics} {
		if err := check(ctx); err != nil {
			return nil, nil, fmt.Errorf("audit: %w", err)
		}
	}
	report = &Report{At: a.at.UTC(), Took: time.Since(begin), Invariants: all, Exceptions: a.exceptions}
	a.finish(report)
	return report, n, nil
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
	all := []*Invariant{a.stock, a.reserved, a.holdings, a.totals, a.emitted, a.ends, a.sent, a.lost, a.once}
	if a.pays {
		a.money = invariant(Money, "the money of a CONFIRMED order is held, of a FAILED or CANCELED one nothing")
		a.logs = invariant(PaymentLog, "a payment is of its order's total, and holds the sum of its payment_log")
		a.gateway = invariant(Gateway, "the payment gateway's ledger holds of each order what its payment says")
		all = append(all, a.money, a.logs, a.gateway)
	}
	return all
}

// look takes the snapshot and begins to read the topics, which goes on beside the walk through the tables. The snapshot, of each
// server if there are several, contains the effects of everything that a consumer group committed before it; the topics, whose ends are asked for afterwards, contain
// everything that is sent in the snapshot.
func (a *auditor) look(ctx context.Context) (err error) {
	if len(a.o.Brokers) == 0 {
		a.sent.Skipped = "the topics were not read"
		a.snapshot, err = take(ctx, a.o.Server)
		return err
	}
	reader, err := kafka.NewReader(a.o.Brokers, a.o.Login)
	if err != nil {
		return err
	}
	if a.consumed, a.ahead, err = consumed(reader, a.o.Wiring.Sources); err != nil {
		return errors.Join(err, reader.Close())
	}
	if a.snapshot, err = take(ctx, a.o.Server); err != nil {
		return errors.Join(err, reader.Close())
	}
	if a.topics, err = a.readTopics(ctx, reader); err != nil {
		return errors.Join(err, reader.Close(), a.snapshot.end(ctx))
	}
	return nil
}

// mark finds what the next checkpoint will know, and recognizes the stack of the last one.
func (a *auditor) mark(ctx context.Context) error {
	if a.newer == nil {
		return nil
	}
	if err := a.recognize(ctx); err != nil {
		return err
	}
	return a.cover(ctx)
}

// readTopics begins to read the topics; then the reader is closed.
func (a *auditor) readTopics(ctx context.Context, reader *kafka.Reader) (*loading, error) {
	names := make([]string, len(a.o.Wiring.Topics))
	for i, topic := range a.o.Wiring.Topics {
		names[i] = topic.Name
	}
	of, err := reader.SpansOf(names)
	if err != nil {
		return nil, err
	}
	var all []kafka.Span
	for _, name := range names {
		all = append(all, of[name]...)
	}
	replayed, err := a.readReplayed(ctx)
	if err != nil {
		return nil, err
	}
	isDeadLetters := func(topic string) bool {
		return slices.ContainsFunc(a.o.Wiring.Sources, func(s knative.KafkaSource) bool { return s.Delivery.DeadLetter == topic })
	}
	oldest := make([]int64, len(all))
	for i, span := range all {
		oldest[i] = span.From
	}
	if err := a.narrow(reader, all, isDeadLetters); err != nil {
		return nil, err
	}
	l := &loading{ended: make(chan struct{})}
	r := newRecords(a.hashes, all, oldest, replayed, isDeadLetters)
	if from := a.since(); from != nil {
		r.known, r.again, r.ends = from.Known, a.newer.again, from.ends()
	}
	go func() {
		defer close(l.ended)
		defer func() { _ = reader.Close() }() // only read, so nothing is lost
		l.records, l.err = r, r.load(ctx, reader, a.o.Avro)
	}()
	return l, nil
}

// checkTopics waits until the topics are read, and checks what needs all of them.
func (a *auditor) checkTopics(ctx context.Context) error {
	if a.topics == nil {
		return nil
	}
	records := a.topics.wait()
	if a.topics.err != nil {
		return a.topics.err
	}
	records.compare(a.once)
	if records.late > 0 {
		a.cannotJudge("%d records are of events from before the checkpoint", records.late)
	}
	a.checkUnmarked(records)
	a.exceptions = append(records.exceptions(), a.exceptions...)
	return a.checkDeferred(ctx, records)
}

// replayedPage is the number of replays in one query.
const replayedPage = 5000

// readReplayed reads which dead letters were replayed successfully, as far as known.
func (a *auditor) readReplayed(ctx context.Context) (map[uint64]struct{}, error) {
	conn, err := a.snapshot.use(ctx, schema.Operations)
	if err != nil {
		return nil, err
	}
	replayed := map[uint64]struct{}{}
	q := operations.New(conn)
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
	topics := make([]string, len(sources))
	for i, source := range sources {
		topics[i] = source.Topic
	}
	of, err := reader.SpansOf(topics) // before the offsets, so that the spans contain what a group reaches meanwhile
	if err != nil {
		return nil, nil, err
	}
	for _, source := range sources {
		spans := of[source.Topic]
		if len(spans) == 0 {
			continue // a missing topic has nothing to handle
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
	hash := a.hashes.of(order)
	a.keepOpen(order)
	_, explained := a.explained[hash]
	if !explained && a.topics != nil {
		_, explained = a.topics.wait().set[hash]
	}
	if explained {
		i.explain(format, args...)
		return
	}
	i.breach(format, args...)
}
