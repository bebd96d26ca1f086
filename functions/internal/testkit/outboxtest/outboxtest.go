// Package outboxtest reads the events that functions have emitted from their outbox, as a relay publishes them.
package outboxtest

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/transaction"
)

// Publisher records the events that it is given, in order, and acknowledges them.
type Publisher struct {
	mu     sync.Mutex
	events []event.Event
}

// Publish records a batch.
func (p *Publisher) Publish(_ context.Context, batch []event.Event) []outbox.Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	outcomes := make([]outbox.Outcome, len(batch))
	for i, e := range batch {
		outcomes[i].Offset = int64(len(p.events))
		p.events = append(p.events, e)
	}
	return outcomes
}

// Events returns the events published so far.
func (p *Publisher) Events() []event.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]event.Event(nil), p.events...)
}

// Close does nothing.
func (p *Publisher) Close() error { return nil }

// Store adds events to the outbox of db as of a time, in one transaction.
func Store(t testing.TB, db *sql.DB, at time.Time, events ...event.Event) {
	t.Helper()
	require.NoError(t, transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
		_, err := outbox.Append(ctx, tx, at, events)
		return err
	}))
}

// Drain relays all waiting events of the outbox of db and returns them in the order of publishing, which is defined only
// within an aggregate. Draining again returns only new events.
func Drain(t testing.TB, db *sql.DB) []event.Event {
	t.Helper()
	var p Publisher
	_, err := outbox.Relay{DB: db, Publisher: &p, Now: time.Now}.Sweep(mysqltest.AsTest(t.Context()))
	require.NoError(t, err)
	return p.Events()
}

// Types returns the types of events.
func Types(events []event.Event) []string {
	types := make([]string, len(events))
	for i, e := range events {
		types[i] = e.Type()
	}
	return types
}
