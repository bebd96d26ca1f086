package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/sql/transaction"
)

// fact is the nth event about an aggregate.
func fact(aggregate string, n int) event.Event {
	e := event.New()
	e.SetID(fmt.Sprintf("%s#%d", aggregate, n))
	e.SetSource("/orders")
	e.SetSubject(aggregate)
	e.SetType("order.created")
	e.SetTime(time.Date(2026, 3, 1, 12, 0, n, 0, time.UTC))
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = fmt.Appendf(nil, `{"n": %d}`, n)
	return e
}

// store adds events to the outbox, in one transaction.
func store(t testing.TB, db *sql.DB, events ...event.Event) []uint8 {
	t.Helper()
	shards, err := outbox.Store{DB: db, Now: time.Now}.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) {
		return events, nil
	})
	require.NoError(t, err)
	return shards
}

// broker is a Publisher that keeps the events it is given and answers with answer, by default with an acknowledgement. It
// asserts what a relay guarantees about a batch.
type broker struct {
	t      testing.TB
	answer func(ctx context.Context, e event.Event) outbox.Outcome

	mu    sync.Mutex
	asked []string // the ids of all events that it was given
}

func (b *broker) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	_, bounded := ctx.Deadline()
	assert.True(b.t, bounded, "the wait for the broker is bounded")
	outcomes := make([]outbox.Outcome, len(batch))
	aggregates := map[string]bool{}
	for i, e := range batch {
		assert.False(b.t, aggregates[e.Subject()], "a batch has one event of %s", e.Subject())
		aggregates[e.Subject()] = true
		b.mu.Lock()
		outcomes[i].Offset = int64(len(b.asked))
		b.asked = append(b.asked, e.ID())
		b.mu.Unlock()
		if b.answer != nil {
			outcomes[i] = b.answer(ctx, e)
		}
	}
	return outcomes
}

func (*broker) Close() error { return nil }

// ids returns the ids of all events that the broker was given, in order.
func (b *broker) ids() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.asked...)
}

// times counts how often the broker was given an event.
func (b *broker) times(id string) (n int) {
	for _, given := range b.ids() {
		if given == id {
			n++
		}
	}
	return n
}

// relay returns a relay from the outbox of db to p.
func relay(db *sql.DB, p outbox.Publisher) outbox.Relay {
	return outbox.Relay{DB: db, Publisher: p, Now: time.Now}
}

// sweep relays all due rows and asserts that there is no error.
func sweep(t testing.TB, db *sql.DB, p outbox.Publisher) int {
	t.Helper()
	sent, err := relay(db, p).Sweep(t.Context())
	require.NoError(t, err)
	return sent
}

// state is an outbox row as an operator sees it.
type state struct {
	status    string
	attempts  int
	waits     bool // it has a next attempt
	lastError string
}

// stored reads the row of an event.
func stored(t testing.TB, db *sql.DB, e event.Event) (s state) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT status, attempts, next_attempt_at IS NOT NULL, COALESCE(last_error, '')
		FROM outbox WHERE JSON_UNQUOTE(JSON_EXTRACT(headers, '$.id')) = ?`, e.ID()).Scan(&s.status, &s.attempts, &s.waits, &s.lastError))
	return s
}

// exec runs a statement and returns the number of changed rows.
func exec(t testing.TB, db *sql.DB, query string, args ...any) int64 {
	t.Helper()
	result, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
	n, err := result.RowsAffected()
	require.NoError(t, err)
	return n
}

// makeDue ends the wait of every refused row.
func makeDue(t testing.TB, db *sql.DB) {
	t.Helper()
	exec(t, db, "UPDATE outbox SET next_attempt_at = NOW(6) WHERE next_attempt_at IS NOT NULL")
}
