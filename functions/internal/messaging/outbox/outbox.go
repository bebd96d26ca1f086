// Package outbox stores events in the transaction that changes the state, and relays them to Kafka: at least once, and in
// order per aggregate. Store stores; Dispatcher publishes what its own process has just committed, and Relay all the rest.
package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/transaction"
)

// Shards is the number of shards of an outbox; each has a row in outbox_shards. It is part of the stored data: a different
// number needs a migration.
const Shards = 8

// AllShards returns the numbers of all shards.
func AllShards() []uint8 {
	all := make([]uint8, Shards)
	for i := range all {
		all[i] = uint8(i)
	}
	return all
}

// Shard returns the shard of an aggregate's events.
func Shard(aggregateID string) uint8 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(aggregateID)) // a hash never fails
	return uint8(h.Sum32() % Shards)
}

// Poke wakes the relay of a schema because shards have new rows. It returns at once and may be lost: the relay also sweeps
// regularly.
type Poke func(schema string, shards ...uint8)

// Work is the body of a transaction; the events that it returns are stored in the same transaction.
type Work func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error)

// Store runs transactions that store events.
type Store struct {
	DB  *sql.DB
	Now func() time.Time
	// Dispatcher publishes the events that it may; nil leaves all to the relays.
	Dispatcher *Dispatcher

	consumed []event.Event // see After
}

// After returns a store for what a function does in reaction to facts about orders that have been consumed. All facts about an
// order follow its first one, order.created, so that is published.
func (s Store) After(consumed []event.Event) Store {
	s.consumed = consumed
	return s
}

// Transact runs work in one transaction and stores the events that it returns: see transaction.Run. It returns the shards
// with new rows that are left to a relay, for the poke.
func (s Store) Transact(ctx context.Context, work Work) ([]uint8, error) {
	return s.transact(ctx, transaction.Run, work)
}

// TransactShared is Transact for the work of a batch: see transaction.RunShared.
func (s Store) TransactShared(ctx context.Context, work Work) ([]uint8, error) {
	return s.transact(ctx, transaction.RunShared, work)
}

type runner func(context.Context, *sql.DB, func(context.Context, *transaction.Tx) error) error

func (s Store) transact(ctx context.Context, run runner, work Work) (shards []uint8, err error) {
	ctx, end := tracing.Span(ctx, "transaction")
	defer func() { end(err) }()
	var held *heldEvents
	err = run(ctx, s.DB, func(ctx context.Context, tx *transaction.Tx) error {
		emitted, err := work(ctx, tx)
		if err != nil {
			return err
		}
		if shards, held, err = s.append(ctx, tx, s.Now(), emitted); err != nil {
			return err
		}
		failpoint.Pass(ctx, failpoint.BeforeCommit)
		return nil
	})
	if err != nil {
		return nil, err
	}
	failpoint.Pass(ctx, failpoint.AfterCommit)
	if batch := held.committed(s.Dispatcher); len(batch) > 0 {
		s.Dispatcher.take(batch)
	}
	return shards, nil
}

// heldEvents are the events of a transaction that its rows hold for the dispatcher.
type heldEvents struct {
	firstID int64 // of all rows of the transaction, once it is committed
	places  []int // of the events among them
	events  []event.Event
	at      time.Time
}

// committed returns the events with the ids of their rows.
func (h *heldEvents) committed(d *Dispatcher) []stored {
	if h == nil || h.firstID == 0 {
		return nil
	}
	batch := make([]stored, len(h.events))
	for i, e := range h.events {
		batch[i] = stored{id: h.firstID + int64(h.places[i])*d.step.Load(), event: e, at: h.at}
	}
	return batch
}

// append stores events in tx as of a time, holds those that the dispatcher may publish, and returns the shards of the others.
func (s Store) append(ctx context.Context, tx *transaction.Tx, at time.Time, emitted []event.Event) (shards []uint8, held *heldEvents, err error) {
	if len(emitted) == 0 {
		return nil, nil, nil
	}
	rows, err := Encode(emitted, at)
	if err != nil {
		return nil, nil, err
	}
	insert := tx.Deferred()
	var hold *int
	if s.Dispatcher.Taking() {
		held = &heldEvents{at: s.Dispatcher.now()}
		insert = tx.DeferredInsert(&held.firstID)
		micros := int(s.Dispatcher.hold.Microseconds())
		hold = &micros
	}
	for i, e := range emitted {
		if held == nil || !s.follows(e) {
			shards = append(shards, rows[i].Shard)
			continue
		}
		rows[i].HoldMicros = hold
		held.places, held.events = append(held.places, i), append(held.events, e)
	}
	// The rows of one INSERT with as many values as rows have consecutive ids.
	if err := messaging.New(insert).InsertEvents(ctx, rows); err != nil {
		return nil, nil, fmt.Errorf("store %d events in the outbox: %w", len(rows), err)
	}
	return shards, held, nil
}

// follows returns whether the events before e of the same aggregate and service are known to be published: e is the first one,
// or the second one of an order in reaction to a fact about it. An earlier row of the aggregate may wait for its relay else,
// stored by this process or another.
func (s Store) follows(e event.Event) bool {
	_, n, err := events.ParseID(e.ID())
	if err != nil {
		return false
	}
	return n == 1 || n == 2 && e.Source() == events.OrdersSource &&
		slices.ContainsFunc(s.consumed, func(c event.Event) bool { return c.Subject() == e.Subject() })
}

// Append stores events in tx, at the latest with its commit, for any relay, and returns their shards. Each event needs a
// subject, the id of its aggregate.
func Append(ctx context.Context, tx *transaction.Tx, at time.Time, emitted []event.Event) ([]uint8, error) {
	shards, _, err := Store{}.append(ctx, tx, at, emitted)
	return shards, err
}

// Encode returns the rows of events; Decode is its inverse.
func Encode(emitted []event.Event, at time.Time) ([]messaging.InsertEventParams, error) {
	rows := make([]messaging.InsertEventParams, len(emitted))
	for i, e := range emitted {
		headers, err := encodeHeaders(e)
		if err != nil {
			return nil, err
		}
		rows[i] = messaging.InsertEventParams{
			Shard:         Shard(e.Subject()),
			AggregateType: aggregateType(e.Source()),
			AggregateID:   e.Subject(),
			Type:          e.Type(),
			Payload:       string(e.Data()),
			Headers:       headers,
			CreatedAt:     at,
		}
	}
	return rows, nil
}

func aggregateType(source string) string {
	switch source {
	case events.InventorySource:
		return "RESERVATION"
	case events.PaymentsSource:
		return "PAYMENT"
	default:
		return "ORDER"
	}
}

// headers has the CloudEvents attributes of a stored event, except type and data, which have their own columns.
type headers struct {
	ID              string            `json:"id"`
	Source          string            `json:"source"`
	Subject         string            `json:"subject"`
	Time            time.Time         `json:"time"`
	DataContentType string            `json:"datacontenttype"`
	DataSchema      string            `json:"dataschema,omitempty"`
	Extensions      map[string]string `json:"extensions,omitempty"`
}

func encodeHeaders(e event.Event) (string, error) {
	h := headers{
		ID: e.ID(), Source: e.Source(), Subject: e.Subject(), Time: e.Time(),
		DataContentType: e.DataContentType(), DataSchema: e.DataSchema(),
	}
	if extensions := events.Extensions(e); len(extensions) > 0 {
		h.Extensions = make(map[string]string, len(extensions))
		for name, value := range extensions {
			text, isText := value.(string)
			if !isText {
				text = fmt.Sprint(value)
			}
			h.Extensions[name] = text
		}
	}
	text, err := json.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("encode the attributes of event %s: %w", e.ID(), err)
	}
	return string(text), nil
}

// Decode returns the event of a stored row, equal to the event that was appended.
func Decode(eventType, payload, text string) (event.Event, error) {
	var h headers
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return event.Event{}, fmt.Errorf("decode the attributes of a stored %s: %w", eventType, err)
	}
	e := event.New()
	e.SetType(eventType)
	e.SetID(h.ID)
	e.SetSource(h.Source)
	e.SetSubject(h.Subject)
	e.SetTime(h.Time)
	if h.DataSchema != "" {
		e.SetDataSchema(h.DataSchema)
	}
	for name, value := range h.Extensions {
		e.SetExtension(name, value)
	}
	e.SetDataContentType(h.DataContentType)
	e.DataEncoded = []byte(payload) // SetData would mark bytes as binary data
	if err := e.Validate(); err != nil {
		return event.Event{}, fmt.Errorf("decode a stored %s: %w", eventType, err)
	}
	return e, nil
}
