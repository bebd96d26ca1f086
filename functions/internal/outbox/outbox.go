// Package outbox stores events in the transaction of the state that they tell of, and relays them to Kafka. Events go
// in through Transact; they come out of Relay, in order per aggregate, at least once.
package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/failpoint"
	"example.com/orders/functions/internal/tracing"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/schema"
)

// Shards is how many shards an outbox has, one row of outbox_shards each. It is part of the stored data: another
// number needs a migration.
const Shards = 8

// AllShards lists them.
func AllShards() []uint8 {
	all := make([]uint8, Shards)
	for i := range all {
		all[i] = uint8(i)
	}
	return all
}

// Shard is the shard of an aggregate's events.
func Shard(aggregateID string) uint8 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(aggregateID)) // a hash never fails
	return uint8(h.Sum32() % Shards)
}

// Poke tells the relay of a schema that shards have new rows. It returns at once and may be lost: the relay sweeps
// all the same.
type Poke func(schema string, shards ...uint8)

// Work is what a transaction does; the events that it returns are stored with what it wrote.
type Work func(ctx context.Context, tx *sql.Tx) ([]event.Event, error)

// How often a transaction is run again after a transient error, and the first wait. Eight tries take about a second:
// enough for deadlocks and for a connection that was cut, and less than a caller waits.
const (
	tries     = 8
	firstWait = 5 * time.Millisecond
)

// Transact runs work in one transaction at READ COMMITTED, stores the events that it returns, and commits. It returns
// the shards that have new rows, for the poke. A deadlock, a lock that took too long or a lost connection runs all of
// work again, from the start, after a wait with jitter, so work must set what it returns to its caller anew each
// time. After a connection is lost during the commit the transaction may have been committed: work must find that out
// by what it reads or by a unique key.
func Transact(ctx context.Context, db *sql.DB, now func() time.Time, work Work) ([]uint8, error) {
	return transactWhile(again, ctx, db, now, work)
}

// again tells whether another try soon after may get over err: not over a server that is full.
func again(err error) bool { return schema.IsTransient(err) && !schema.IsFull(err) }

// TransactGroup is Transact for work that is done for many at once. It waits for a row that another transaction holds
// once and not again: the rest of the group would be held up by what concerns one of them.
func TransactGroup(ctx context.Context, db *sql.DB, now func() time.Time, work Work) ([]uint8, error) {
	return transactWhile(func(err error) bool { return again(err) && !schema.IsLockWaitTimeout(err) }, ctx, db, now, work)
}

// transactWhile runs a transaction again as long as again says so of its error.
func transactWhile(again func(error) bool, ctx context.Context, db *sql.DB, now func() time.Time, work Work) ([]uint8, error) {
	for try := 1; ; try++ {
		shards, err := transact(ctx, db, now, work)
		if err == nil || !again(err) || try == tries {
			return shards, err
		}
		wait := time.NewTimer(rand.N(firstWait << try))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil, err
		case <-wait.C:
		}
	}
}

func transact(ctx context.Context, db *sql.DB, now func() time.Time, work Work) (shards []uint8, err error) {
	ctx, end := tracing.Span(ctx, "transaction")
	defer func() { end(err) }()
	tx, err := db.BeginTx(ctx, schema.ReadCommitted)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit this does nothing
	emitted, err := work(ctx, tx)
	if err != nil {
		return nil, err
	}
	if shards, err = Append(ctx, tx, now(), emitted); err != nil {
		return nil, err
	}
	failpoint.Pass(ctx, failpoint.BeforeCommit)
	if err := schema.Commit(ctx, tx); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	failpoint.Pass(ctx, failpoint.AfterCommit)
	return shards, nil
}

// Append stores events in tx, at the latest with its commit (see schema.Later), and returns the shards that they go to.
// Each event has a subject, its aggregate's id.
func Append(ctx context.Context, tx messaging.DBTX, at time.Time, emitted []event.Event) ([]uint8, error) {
	if len(emitted) == 0 {
		return nil, nil
	}
	rows := make([]messaging.InsertEventParams, len(emitted))
	shards := make([]uint8, len(emitted))
	for i, e := range emitted {
		headers, err := encodeHeaders(e)
		if err != nil {
			return nil, err
		}
		shards[i] = Shard(e.Subject())
		rows[i] = messaging.InsertEventParams{
			Shard:         shards[i],
			AggregateType: aggregateType(e.Source()),
			AggregateID:   e.Subject(),
			Type:          e.Type(),
			Payload:       string(e.Data()),
			Headers:       headers,
			CreatedAt:     at,
		}
	}
	if err := messaging.New(tx).InsertEvents(schema.Later(ctx), rows); err != nil {
		return nil, fmt.Errorf("store %d events in the outbox: %w", len(rows), err)
	}
	return shards, nil
}

func aggregateType(source string) string {
	if source == events.InventorySource {
		return "RESERVATION"
	}
	return "ORDER"
}

// headers are the CloudEvents attributes of a stored event, all but its type and data, which have columns of their own.
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
	if extensions := e.Extensions(); len(extensions) > 0 {
		h.Extensions = make(map[string]string, len(extensions))
		for name, value := range extensions {
			h.Extensions[name] = fmt.Sprint(value)
		}
	}
	text, err := json.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("encode the attributes of event %s: %w", e.ID(), err)
	}
	return string(text), nil
}

// Decode makes the stored event again; what it returns is equal to what was appended.
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
