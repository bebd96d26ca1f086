package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/knative"
	"example.com/orders/sql/bulk"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// fillChunk is the number of orders in one transaction of each schema, and fillers the number of chunks at a time.
const fillChunk, fillers = 500, 4

// Fill writes ended orders into the new schemas and topics of a stack that does not run yet: with everything that the functions
// and the relays would have left, so that an audit finds no breach. The consumer groups of the sources begin after the records.
// An error leaves a part of it.
func Fill(ctx context.Context, target Target, sources []knative.KafkaSource, past Past, o Options, show *Progress) (err error) {
	begin := time.Now()
	f := &filler{
		orders: past.Orders, levels: make([]int64, o.SKUs), show: show, db: map[string]*sql.DB{},
		maker:    maker{shape: newShape(o.SKUs, o.Skew, o.Lines, o.Seed), seed: o.Seed, begin: begin.Add(-past.Over), step: past.Over / time.Duration(past.Orders)},
		currency: target.Currency,
		producer: kafka.NewProducer(target.Brokers, target.TopicPrefix, slog.New(slog.DiscardHandler)),
	}
	defer func() { err = errors.Join(err, f.close()) }()
	for _, name := range []string{schema.Orders, schema.Inventory, schema.Notifications} {
		if f.db[name], err = target.Server.Open(name, fillers); err != nil {
			return err
		}
	}
	show.say("writing %d ended orders of the last %s", past.Orders, past.Over)
	if err := f.run(ctx); err != nil {
		return err
	}
	if err := f.stock(ctx, begin); err != nil {
		return fmt.Errorf("write the stock: %w", err)
	}
	if err := skip(target.Brokers, sources); err != nil {
		return err
	}
	show.say("wrote them in %s", time.Since(begin).Round(time.Second))
	return nil
}

// filler writes ended orders.
type filler struct {
	orders   int
	maker    maker
	currency string
	db       map[string]*sql.DB
	producer *kafka.Producer
	show     *Progress

	mu     sync.Mutex
	levels []int64 // reserved of each SKU
	done   int
}

func (f *filler) close() error {
	errs := []error{f.producer.Close()}
	for _, db := range f.db {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// run writes all orders, several chunks at a time.
func (f *filler) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range fillers {
		workers.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(fillChunk)) - fillChunk
				if from >= f.orders {
					return
				}
				if err := f.chunk(ctx, from, min(from+fillChunk, f.orders)); err != nil {
					cancel(fmt.Errorf("write the orders from %d on: %w", from, err))
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// chunk writes a range of the orders.
func (f *filler) chunk(ctx context.Context, from, to int) error {
	all := make([]*ended, 0, to-from)
	for n := from; n < to; n++ {
		e, err := f.maker.order(n)
		if err != nil {
			return err
		}
		all = append(all, e)
	}
	sent, err := f.publish(ctx, all)
	if err != nil {
		return err
	}
	for name, write := range map[string]func(context.Context, *transaction.Tx, []*ended) error{
		schema.Orders: f.writeOrders, schema.Inventory: writeReservations, schema.Notifications: writeNotifications,
	} {
		if err := transaction.Run(ctx, f.db[name], func(ctx context.Context, tx *transaction.Tx) error {
			if err := write(ctx, tx, all); err != nil {
				return err
			}
			return writeMessages(ctx, tx, name, all, sent)
		}); err != nil {
			return fmt.Errorf("schema %s: %w", name, err)
		}
	}
	f.note(all)
	return nil
}

// sentEvent is the row of an event, and where its record is.
type sentEvent struct {
	messaging.InsertEventParams
	outbox.Outcome
}

// publish sends the facts of orders, and returns their rows by schema.
func (f *filler) publish(ctx context.Context, all []*ended) (map[string][]sentEvent, error) {
	var facts []fact
	var batch []event.Event
	for _, e := range all {
		for _, one := range e.facts {
			facts, batch = append(facts, one), append(batch, one.Event)
		}
	}
	rows, err := outbox.Encode(batch, time.Time{})
	if err != nil {
		return nil, err
	}
	sent := map[string][]sentEvent{}
	for n, outcome := range f.producer.Publish(ctx, batch) {
		if outcome.Err != nil {
			return nil, fmt.Errorf("publish event %s: %w", batch[n].ID(), outcome.Err)
		}
		rows[n].CreatedAt = facts[n].at
		name := facts[n].Source()[1:]
		sent[name] = append(sent[name], sentEvent{rows[n], outcome})
	}
	return sent, nil
}

// note counts what the orders hold, and shows how far the filler has come.
func (f *filler) note(all []*ended) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range all {
		if e.status != orders.OrdersStatusCONFIRMED {
			continue
		}
		for _, sku := range f.maker.shape.order(e.n) {
			f.levels[sku]++
		}
	}
	before := f.done * 10 / f.orders
	f.done += len(all)
	if after := f.done * 10 / f.orders; after > before {
		f.show.say("%d of %d", f.done, f.orders)
	}
}

// The statements that store rows in their last state. Functions reach it by several.
const (
	insertOrder = `INSERT INTO orders (id, customer_email, status, total_amount, currency, version, request_hash, correlation_id, failure_reason, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertSent = `INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, status, created_at, sent_at, kafka_partition, kafka_offset)
VALUES (?, ?, ?, ?, ?, ?, 'SENT', ?, ?, ?, ?)`
	insertReservation  = `INSERT INTO reservations (order_id, status, version, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`
	insertConversation = `INSERT INTO conversations (order_id, version) VALUES (?, ?)`
	insertNotification = `INSERT INTO notifications (source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at, sent_at)
VALUES (?, ?, ?, ?, ?, ?, 'SENT', 1, ?, ?)`
)

// writeMessages stores the outbox and the inbox of a schema.
func writeMessages(ctx context.Context, tx *transaction.Tx, name string, all []*ended, sent map[string][]sentEvent) error {
	if err := bulk.Insert(ctx, tx, insertSent, sent[name], func(s sentEvent) []any {
		return []any{
			s.Shard, s.AggregateType, s.AggregateID, s.Type, s.Payload, s.Headers,
			s.CreatedAt, s.CreatedAt.Add(stepTakes), s.Partition, s.Offset,
		}
	}); err != nil {
		return err
	}
	var handled []messaging.InsertHandledParams
	for _, e := range all {
		handled = append(handled, e.handled(name)...)
	}
	return messaging.New(tx).InsertAllHandled(ctx, handled)
}

func (f *filler) writeOrders(ctx context.Context, tx *transaction.Tx, all []*ended) error {
	if err := bulk.Insert(ctx, tx, insertOrder, all, func(e *ended) []any {
		version, last := e.count(events.OrdersSource)
		return []any{
			e.id, e.email, e.status, e.total, f.currency, version, e.fingerprint(), e.id, e.failure(), e.placed, last,
		}
	}); err != nil {
		return err
	}
	var items []orders.InsertItemParams
	for _, e := range all {
		for _, item := range e.items {
			items = append(items, orders.InsertItemParams{OrderID: e.id, Sku: item.SKU, UnitPrice: item.UnitPrice, Quantity: item.Quantity})
		}
	}
	return orders.New(tx).InsertItems(ctx, items)
}

func writeReservations(ctx context.Context, tx *transaction.Tx, all []*ended) error {
	if err := bulk.Insert(ctx, tx, insertReservation, all, func(e *ended) []any {
		version, last := e.count(events.InventorySource)
		return []any{e.id, e.reservation(), version, e.placed.Add(stepTakes), last}
	}); err != nil {
		return err
	}
	var log []inventory.InsertReservationLogParams
	for _, e := range all {
		log = append(log, e.log()...)
	}
	return inventory.New(tx).InsertReservationLogs(ctx, log)
}

func writeNotifications(ctx context.Context, tx *transaction.Tx, all []*ended) error {
	if err := bulk.Insert(ctx, tx, insertConversation, all, func(e *ended) []any {
		version, _ := e.count(events.OrdersSource)
		return []any{e.id, version}
	}); err != nil {
		return err
	}
	type news struct {
		of      *ended
		version int
		fact
	}
	var told []news
	for _, e := range all {
		for n, one := range e.news() {
			told = append(told, news{e, n + 2, one}) // the first fact, order.created, is no news
		}
	}
	return bulk.Insert(ctx, tx, insertNotification, told, func(n news) []any {
		return []any{n.Source(), n.ID(), n.of.id, n.version, n.Type(), n.of.email, n.at.Add(stepTakes), n.at.Add(2 * stepTakes)}
	})
}

// stock writes the levels of all SKUs, each in its first version, and where their units came from.
func (f *filler) stock(ctx context.Context, at time.Time) error {
	return transaction.Run(ctx, f.db[schema.Inventory], func(ctx context.Context, tx *transaction.Tx) error {
		q := inventory.New(tx)
		rows := make([]inventory.SetLevelParams, len(f.levels))
		for sku, reserved := range f.levels {
			rows[sku] = inventory.SetLevelParams{Sku: skuName(sku), AvailableQty: level - reserved, ReservedQty: reserved, Version: 1, UpdatedAt: at}
			if err := q.InsertStockLog(ctx, inventory.InsertStockLogParams{
				Sku: skuName(sku), Delta: level, Reason: "set", AvailableAfter: level, VersionAfter: 1, Created: true, CreatedAt: f.maker.begin,
			}); err != nil {
				return err
			}
		}
		for len(rows) > 0 {
			some := rows[:min(len(rows), fillChunk)]
			if err := q.SetLevels(ctx, some); err != nil {
				return err
			}
			rows = rows[len(some):]
		}
		return nil
	})
}

// skip commits the ends of the topics for their consumer groups, which have handled all records.
func skip(brokers []string, sources []knative.KafkaSource) (err error) {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	kafka.Apply(config)
	client, err := sarama.NewClient(brokers, config)
	if err != nil {
		return fmt.Errorf("connect to Kafka at %v: %w", brokers, err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return fmt.Errorf("connect to Kafka at %v: %w", brokers, err)
	}
	for _, source := range sources {
		if err := skipOne(client, admin, source); err != nil {
			return fmt.Errorf("commit the end of %s for %s: %w", source.Topic, source.Group, err)
		}
	}
	return nil
}

// groupWithin bounds the wait for the coordinator of a new group.
const groupWithin = 30 * time.Second

func skipOne(client sarama.Client, admin sarama.ClusterAdmin, source knative.KafkaSource) error {
	partitions, err := client.Partitions(source.Topic)
	if err != nil {
		return err
	}
	ends := map[int32]sarama.OffsetAndMetadata{}
	for _, partition := range partitions {
		end, err := client.GetOffset(source.Topic, partition, sarama.OffsetNewest)
		if err != nil {
			return err
		}
		ends[partition] = sarama.OffsetAndMetadata{Offset: end, LeaderEpoch: -1}
	}
	for deadline := time.Now().Add(groupWithin); ; time.Sleep(100 * time.Millisecond) {
		answer, err := admin.AlterConsumerGroupOffsets(source.Group, map[string]map[int32]sarama.OffsetAndMetadata{source.Topic: ends}, nil)
		if err == nil {
			err = refusal(answer.Errors[source.Topic])
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func refusal(partitions map[int32]sarama.KError) error {
	for _, err := range partitions {
		if err != sarama.ErrNoError {
			return err
		}
	}
	return nil
}
