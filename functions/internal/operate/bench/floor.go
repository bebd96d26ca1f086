package bench

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/knative"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// floorSchema and floorTopic exist while the floor is measured.
const (
	floorSchema = "bench_floor"
	floorTopic  = "bench.floor"
)

// floored measures the best possible performance of the servers, calls load, and measures again, since the machine may have
// been faster or slower meanwhile.
func (r *runner) floored(ctx context.Context, load func() error) (result *Floor, err error) {
	f := &floor{r: r, topic: r.target.TopicPrefix + floorTopic, concurrency: r.options.Concurrency}
	defer func() { err = errors.Join(err, f.drop(context.WithoutCancel(ctx))) }()
	if err := f.prepare(ctx); err != nil {
		return nil, err
	}
	result = &Floor{Seconds: r.options.Floor.Seconds(), Concurrency: f.concurrency}
	r.show.say("measuring the floor")
	if result.Before, err = f.measure(ctx); err != nil {
		return nil, err
	}
	lost := load()
	if lost != nil && !errors.Is(lost, ErrLost) {
		return nil, lost
	}
	r.show.say("measuring the floor again")
	if result.After, err = f.measure(ctx); err != nil {
		return nil, err
	}
	result.Mean = Bare{
		Orders:  meanSpeed(result.Before.Orders, result.After.Orders),
		Packed:  meanSpeed(result.Before.Packed, result.After.Packed),
		One:     meanSpeed(result.Before.One, result.After.One),
		Produce: meanSpeed(result.Before.Produce, result.After.Produce),
	}
	return result, lost
}

// floor repeats the minimum work of an order: on tables like those of the orders schema, on its server, with the same statements, over the
// same number of connections.
type floor struct {
	r           *runner
	db          *sql.DB
	concurrency int
	event       messaging.InsertEventParams // a real order.created, except for its aggregate
	items       []events.Item
	topic       string
	producer    *kafka.Producer
}

// prepare creates the scratch schema and topic, and connects.
func (f *floor) prepare(ctx context.Context) (err error) {
	r := f.r
	if r.options.Rate > 0 {
		f.concurrency = r.target.connections() // an open loop has no concurrency of its own
	}
	for i := range r.options.Lines {
		f.items = append(f.items, events.Item{SKU: skuName(i), Quantity: 1, UnitPrice: 1299})
	}
	if f.event, err = sampleEvent(f.items); err != nil {
		return err
	}
	prefix := r.target.Server.Prefix
	statements := []string{"DROP DATABASE IF EXISTS `" + prefix + floorSchema + "`", "CREATE DATABASE `" + prefix + floorSchema + "`"}
	for _, table := range []string{"orders", "order_items", "outbox"} {
		statements = append(statements, "CREATE TABLE `"+prefix+floorSchema+"`."+table+" LIKE `"+prefix+schema.Orders+"`."+table)
	}
	for _, statement := range statements {
		if _, err := r.database.of(schema.Orders).ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("create the schema of the floor: %w", err)
		}
	}
	beside, err := r.target.Server.Of(schema.Orders)
	if err != nil {
		return err
	}
	if f.db, err = beside.Open(floorSchema, r.target.connections()); err != nil {
		return err
	}
	if err := kafka.EnsureTopics(ctx, r.target.Brokers, []knative.Topic{{Name: f.topic, Partitions: 1, Replicas: 1}}); err != nil {
		return err
	}
	f.producer = kafka.NewProducer(r.target.Brokers, "", slog.New(slog.DiscardHandler))
	return nil
}

// sampleEvent returns the outbox row of an order with such lines.
func sampleEvent(items []events.Item) (messaging.InsertEventParams, error) {
	total, err := events.Total(items)
	if err != nil {
		return messaging.InsertEventParams{}, err
	}
	id, now := uuid.NewString(), time.Now()
	e, err := events.New(events.OrderCreatedV1{
		OrderID: id, CustomerEmail: "bench@example.com", Items: items, TotalAmount: total, CreatedAt: now,
	}, 1, now, events.Cause{CorrelationID: uuid.NewString(), CausationID: uuid.NewString()})
	if err != nil {
		return messaging.InsertEventParams{}, fmt.Errorf("build a sample event: %w", err)
	}
	rows, err := outbox.Encode([]event.Event{e}, now)
	if err != nil {
		return messaging.InsertEventParams{}, fmt.Errorf("build a sample event: %w", err)
	}
	return rows[0], nil
}

// drop removes what prepare has created.
func (f *floor) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var errs []error
	if f.db != nil {
		errs = append(errs, f.db.Close())
	}
	if f.producer != nil {
		errs = append(errs, f.producer.Close())
	}
	if _, err := f.r.database.of(schema.Orders).ExecContext(ctx, "DROP DATABASE IF EXISTS `"+f.r.target.Server.Prefix+floorSchema+"`"); err != nil {
		errs = append(errs, fmt.Errorf("drop the schema of the floor: %w", err))
	}
	return errors.Join(append(errs, deleteTopic(f.r.target.Brokers, f.topic))...)
}

func (f *floor) measure(ctx context.Context) (b Bare, err error) {
	for range f.r.target.connections() { // so that the measurement opens no connections
		if err := f.order(ctx); err != nil {
			return b, err
		}
	}
	if b.Orders, err = hammer(ctx, f.r.options.Floor, f.concurrency, f.order); err != nil {
		return b, err
	}
	if b.Packed, err = hammer(ctx, f.r.options.Floor/2, f.concurrency, f.packed); err != nil {
		return b, err
	}
	// One at a time is measured separately: without a queue, its latency is the reference of an idle stack.
	if b.One, err = hammer(ctx, f.r.options.Floor/2, 1, f.order); err != nil {
		return b, err
	}
	if err := f.produce(ctx); err != nil { // connects
		return b, err
	}
	b.Produce, err = hammer(ctx, f.r.options.Floor/2, 1, f.produce)
	return b, err
}

// order does the minimum for accepting an order: it inserts the order, its lines and the event in one transaction, statement
// by statement.
func (f *floor) order(ctx context.Context) error {
	return f.accept(ctx, func(tx *transaction.Tx) messaging.DBTX { return tx })
}

// packed is order in one round trip.
func (f *floor) packed(ctx context.Context) error {
	return f.accept(ctx, func(tx *transaction.Tx) messaging.DBTX { return tx.Deferred() })
}

func (f *floor) accept(ctx context.Context, by func(*transaction.Tx) messaging.DBTX) error {
	id, now := uuid.Must(uuid.NewV7()).String(), time.Now().UTC()
	err := transaction.Once(ctx, f.db, func(ctx context.Context, tx *transaction.Tx) error {
		q, fingerprint := orders.New(by(tx)), sha256.Sum256([]byte(id))
		if err := q.InsertOrder(ctx, orders.InsertOrderParams{
			ID: id, CustomerEmail: "bench@example.com", Status: orders.OrdersStatusPENDING, TotalAmount: 1299 * int64(len(f.items)),
			Currency: "EUR", Version: 1, RequestHash: fingerprint[:], CorrelationID: id, CreatedAt: now, UpdatedAt: now,
		}); err != nil {
			return fmt.Errorf("insert an order: %w", err)
		}
		items := make([]orders.InsertItemParams, len(f.items))
		for i, item := range f.items {
			items[i] = orders.InsertItemParams{OrderID: id, Sku: item.SKU, UnitPrice: item.UnitPrice, Quantity: item.Quantity}
		}
		if err := q.InsertItems(ctx, items); err != nil {
			return fmt.Errorf("insert the lines: %w", err)
		}
		e := f.event
		e.Shard, e.AggregateID, e.CreatedAt = outbox.Shard(id), id, now
		if err := messaging.New(by(tx)).InsertEvents(ctx, []messaging.InsertEventParams{e}); err != nil {
			return fmt.Errorf("insert the event: %w", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	return nil
}

func (f *floor) produce(ctx context.Context) error {
	m := &sarama.ProducerMessage{Topic: f.topic, Key: sarama.StringEncoder("floor"), Value: sarama.StringEncoder(f.event.Payload)}
	if err := f.producer.Write(ctx, []*sarama.ProducerMessage{m})[0]; err != nil {
		return fmt.Errorf("floor: produce: %w", err)
	}
	return nil
}

// hammer repeats do for a time with the given concurrency, and returns the speed.
func hammer(ctx context.Context, span time.Duration, concurrency int, do func(context.Context) error) (Speed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	all := newHistogram()
	begin := time.Now()
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			own := newHistogram()
			for at := begin; at.Sub(begin) < span && ctx.Err() == nil; {
				if err := do(ctx); err != nil {
					cancel(err)
					break
				}
				now := time.Now()
				own.add(now.Sub(at))
				at = now
			}
			mu.Lock()
			defer mu.Unlock()
			all.merge(own)
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return Speed{}, err
	}
	latency := all.latency()
	return Speed{PerSecond: float64(latency.Count) / time.Since(begin).Seconds(), Latency: latency}, nil
}

func meanSpeed(a, b Speed) Speed {
	return Speed{PerSecond: (a.PerSecond + b.PerSecond) / 2, Latency: middle(a.Latency, b.Latency)}
}

// deleteTopic removes the topic of a measurement.
func deleteTopic(brokers []string, topic string) error {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	kafka.Apply(c)
	admin, err := sarama.NewClusterAdmin(brokers, c)
	if err != nil {
		return fmt.Errorf("connect to Kafka at %v: %w", brokers, err)
	}
	err = admin.DeleteTopic(topic)
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("delete the topic %s: %w", topic, err)
	}
	return errors.Join(err, admin.Close())
}
