package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// backlogType is the type of the events of a backlog, and their topic, which has no consumers.
const backlogType = "bench.backlog"

// Backlog is the result of draining an outbox with the relays of the orders schema.
type Backlog struct {
	At      time.Time `json:"at"`
	Machine Machine   `json:"machine"`
	Stack   Stack     `json:"stack"`
	Rows    int       `json:"rows"`
	// Seconds is the time from the commit of the rows until the last of them was read from the topic.
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	Usage     Usage   `json:"usage"`
	// Rate is how many rows were stored a second, one at a time; 0 for all of them in one transaction.
	Rate float64 `json:"rate,omitempty"`
	// Latency is from the start of a row's transaction until its event was read from the topic; nil without a rate.
	Latency *Latency `json:"latency,omitempty"`
	// SinceCommit is the same from when the row's commit returned: what is measured of relays whose rows others store.
	SinceCommit *Latency `json:"sinceCommit,omitempty"`
}

// Write writes the report for people.
func (b *Backlog) Write(out io.Writer) error {
	if b.Latency != nil {
		_, err := fmt.Fprintf(out, "publish  %d rows at %g/s: p50 %.1f ms, p99 %.1f ms; since the commit p50 %.1f ms, p99 %.1f ms; %.2f CPU seconds of the harness, at most %.0f MiB%s; %s; %s\n",
			b.Rows, b.Rate, b.Latency.P50, b.Latency.P99, b.SinceCommit.P50, b.SinceCommit.P99, b.Usage.HarnessSeconds, b.Usage.HarnessMiB, b.Stack.together(),
			b.Stack.Database, b.Stack.size())
		return err
	}
	_, err := fmt.Fprintf(out, "backlog  %d rows in %.2f s: %.0f rows/s; %.2f CPU seconds of the harness, at most %.0f MiB%s; %s; %s\n",
		b.Rows, b.Seconds, b.PerSecond, b.Usage.HarnessSeconds, b.Usage.HarnessMiB, b.Stack.together(), b.Stack.Database, b.Stack.size())
	return err
}

// maxBacklog bounds a backlog, which is stored in one transaction.
const maxBacklog = 1_000_000

// Drain stores rows events in one transaction, so that relays see all or none, or one at a time if a rate is given. It calls
// wake, which wakes the relays of shards of the orders schema without waiting for them, and measures until the last event is read from the topic, at most
// within. That topic has as many partitions as those of the stack. Drain removes the topic and the rows afterwards.
func Drain(ctx context.Context, target Target, rows int, rate float64, within time.Duration, wake func(...uint8), show *Progress) (result *Backlog, err error) {
	if rows < 1 || rows > maxBacklog {
		return nil, fmt.Errorf("--backlog %d: give 1 to %d rows", rows, maxBacklog)
	}
	db, err := target.Server.Open(schema.Orders, 2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	consumer, err := newConsumer(target.Brokers)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, consumer.Close()) }()
	like, err := numbers(consumer, target.TopicPrefix+events.OrderConfirmedType)
	if err != nil {
		return nil, err
	}
	topic := target.TopicPrefix + backlogType
	if err := kafka.EnsureTopics(ctx, target.Brokers, []knative.Topic{{Name: topic, Partitions: int32(len(like)), Replicas: 1}}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, deleteTopic(target.Brokers, topic)) }()
	if len(target.Principals) > 0 {
		if _, err := kafka.Authorize(target.Brokers, target.relaysTo(topic), nil); err != nil {
			return nil, err
		}
		defer func() {
			_, withdrawn := kafka.Authorize(target.Brokers, target.Principals, nil)
			err = errors.Join(err, withdrawn)
		}()
	}
	parts, err := partitionsOf(ctx, consumer, topic)
	if err != nil {
		return nil, err
	}
	drained := newTally(rows, parts)
	defer drained.close()

	result = &Backlog{At: time.Now().UTC(), Machine: thisMachine(), Rows: rows, Rate: rate}
	if result.Stack, err = (database{servers: []server{{db, []string{schema.Orders}}}}).describe(ctx, target); err != nil {
		return nil, err
	}
	result.Stack.Partitions = len(parts)
	defer func() { err = errors.Join(err, removeBacklog(context.WithoutCancel(ctx), db, err == nil)) }()
	var used *usage
	var begun, ended map[string]time.Time
	committed := time.Now()
	if rate > 0 {
		show.say("storing %d events, %g a second", rows, rate)
		used = startUsage(target.Processes)
		if begun, ended, err = storePaced(ctx, db, rows, rate, wake); err != nil {
			return nil, err
		}
	} else {
		show.say("storing %d events in one transaction", rows)
		if err := transaction.Once(ctx, db, func(ctx context.Context, tx *transaction.Tx) error {
			if err := store(ctx, tx, rows); err != nil {
				return err
			}
			show.say("draining them")
			used = startUsage(target.Processes)
			return nil
		}); err != nil {
			return nil, err
		}
		committed = time.Now()
		wake(outbox.AllShards()...)
	}
	if err := drained.await(ctx, within, used); err != nil {
		return nil, err
	}
	result.Seconds = drained.last.Sub(committed).Seconds()
	result.PerSecond = ratio(float64(rows), result.Seconds)
	result.Latency, result.SinceCommit = drained.since(begun), drained.since(ended)
	result.Usage = used.stop(rows)
	return result, nil
}

// relaysTo returns the principals, of which those that may publish the events of orders may also write a topic.
func (t Target) relaysTo(topic string) []kafka.Principal {
	all := slices.Clone(t.Principals)
	for i, p := range all {
		for _, r := range p.Rules {
			if r.Name == t.TopicPrefix+events.OrderConfirmedType && slices.Contains(r.Operations, sarama.AclOperationWrite) {
				all[i].Rules = append(slices.Clone(p.Rules), kafka.Rule{Resource: r.Resource, Name: topic, Operations: r.Operations})
			}
		}
	}
	return all
}

// storePaced stores events one at a time, each in a transaction of its own, and returns when these began and ended by their keys.
func storePaced(ctx context.Context, db *sql.DB, rows int, rate float64, wake func(...uint8)) (begun, ended map[string]time.Time, err error) {
	begun, ended = make(map[string]time.Time, rows), make(map[string]time.Time, rows)
	pace := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer pace.Stop()
	for range rows {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		e, err := backlogEvent(time.Now().UTC().Truncate(time.Microsecond))
		if err != nil {
			return nil, nil, err
		}
		begun[e.Subject()] = time.Now()
		shards, err := outbox.Store{DB: db, Now: time.Now}.Transact(ctx, func(context.Context, *transaction.Tx) ([]event.Event, error) {
			return []event.Event{e}, nil
		})
		if err != nil {
			return nil, nil, err
		}
		ended[e.Subject()] = time.Now()
		wake(shards...)
	}
	return begun, ended, nil
}

// backlogEvent returns an event of the size of an order.created in the version that create-order emits by default.
func backlogEvent(now time.Time) (event.Event, error) {
	items := []events.Item{{SKU: skuName(1), Quantity: 1, UnitPrice: 1299}, {SKU: skuName(2), Quantity: 1, UnitPrice: 1299}}
	e, err := events.New(events.OrderCreatedV1{
		OrderID: uuid.Must(uuid.NewV7()).String(), CustomerEmail: "bench@example.com", Items: items, TotalAmount: 2598, CreatedAt: now,
	}, 1, now, events.Cause{CorrelationID: "bench"})
	if err != nil {
		return e, fmt.Errorf("build an event of the backlog: %w", err)
	}
	e.SetType(backlogType)
	return e, nil
}

// store appends events as functions do, each with its own aggregate.
func store(ctx context.Context, tx *transaction.Tx, rows int) error {
	const chunk = 500
	now := time.Now().UTC().Truncate(time.Microsecond)
	for done := 0; done < rows; {
		batch := make([]event.Event, 0, chunk)
		for ; len(batch) < chunk && done < rows; done++ {
			e, err := backlogEvent(now)
			if err != nil {
				return err
			}
			batch = append(batch, e)
		}
		if _, err := outbox.Append(ctx, tx, now, batch); err != nil {
			return err
		}
	}
	return nil
}

// removeBacklog deletes the rows in small batches. It first waits until the relays have marked a drained backlog, after the
// topic has it: relays lock rows in a different order, so deleting in between could deadlock.
func removeBacklog(ctx context.Context, db *sql.DB, drained bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var first, last sql.NullInt64
	if err := db.QueryRowContext(ctx, "SELECT MIN(id), MAX(id) FROM outbox WHERE type = ?", backlogType).Scan(&first, &last); err != nil {
		return fmt.Errorf("find the rows of the backlog: %w", err)
	}
	if !first.Valid {
		return nil
	}
	if drained {
		if err := awaitMarks(ctx, db, "outbox WHERE id BETWEEN ? AND ? AND type = ?", first.Int64, last.Int64, backlogType); err != nil {
			return err
		}
	}
	const chunk = 5000
	for id := first.Int64; id <= last.Int64; id += chunk {
		// By ranges of the primary key, which lock no other rows for long.
		err := transaction.Run(ctx, db, func(ctx context.Context, tx *transaction.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM outbox WHERE id BETWEEN ? AND ? AND type = ?", id, id+chunk-1, backlogType)
			return err
		})
		if err != nil {
			return fmt.Errorf("remove the rows of the backlog: %w", err)
		}
	}
	return nil
}

// tally counts the distinct keys that arrive in a topic, since records may be duplicated.
type tally struct {
	want    int
	parts   []sarama.PartitionConsumer
	reading sync.WaitGroup
	all     chan struct{} // closed once all have arrived

	mu   sync.Mutex
	seen map[string]time.Time // when each was read first
	last time.Time            // when the last of them was read; final once all is closed
}

func newTally(want int, parts []sarama.PartitionConsumer) *tally {
	t := &tally{want: want, parts: parts, all: make(chan struct{}), seen: make(map[string]time.Time, want)}
	for _, part := range parts {
		t.reading.Go(func() {
			for record := range part.Messages() {
				t.add(string(record.Key), time.Now())
			}
		})
		t.reading.Go(func() {
			for range part.Errors() { // errors appear as a backlog that does not end
			}
		})
	}
	return t
}

func (t *tally) add(key string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.seen)
	if _, again := t.seen[key]; !again {
		t.seen[key] = at
	}
	if len(t.seen) == t.want && before < t.want {
		t.last = at
		close(t.all)
	}
}

// since returns the times from those of events until they were read; nil without any.
func (t *tally) since(times map[string]time.Time) *Latency {
	if len(times) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	h := newHistogram()
	for key, at := range times {
		h.add(t.seen[key].Sub(at))
	}
	l := h.latency()
	return &l
}

func (t *tally) await(ctx context.Context, within time.Duration, u *usage) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("given up after %s", within)) // no server is away
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-t.all:
			return nil
		case <-tick.C:
			u.look()
		case <-ctx.Done():
			t.mu.Lock()
			defer t.mu.Unlock()
			return fmt.Errorf("%d of %d events of the backlog arrived: %w", len(t.seen), t.want, context.Cause(ctx))
		}
	}
}

func (t *tally) close() {
	for _, part := range t.parts {
		part.AsyncClose()
	}
	t.reading.Wait()
}
