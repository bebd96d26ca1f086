package backlog_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/schema"
)

// refuser is a broker that refuses every event.
type refuser struct{ err error }

func (r refuser) Publish(_ context.Context, batch []event.Event) []outbox.Outcome {
	outcomes := make([]outbox.Outcome, len(batch))
	for i := range outcomes {
		outcomes[i].Err = r.err
	}
	return outcomes
}

func (refuser) Close() error { return nil }

func newOperator(t *testing.T) backlog.Operator {
	t.Helper()
	server := mysqltest.Server(t)
	return backlog.Operator{
		Schema: schema.Orders, DB: mysqltest.Pool(t, server, schema.Orders),
		Operations: mysqltest.Pool(t, server, schema.Operations), Actor: "alice@laptop",
	}
}

// store adds n facts of one order to the outbox.
func store(t *testing.T, db *sql.DB, n int) (orderID string) {
	t.Helper()
	data := functiontest.Created(t, events.Item{SKU: "SKU-123", Quantity: 1, UnitPrice: 1299})
	for i := range n {
		outboxtest.Store(t, db, time.Now(), functiontest.Event(t, data, i+1))
	}
	return data.OrderID
}

// refuse runs the relay with a broker that refuses the due events.
func refuse(t *testing.T, db *sql.DB, err error) {
	t.Helper()
	_, swept := outbox.Relay{DB: db, Publisher: refuser{err}, Now: time.Now}.Sweep(t.Context())
	require.NoError(t, swept)
}

// the returns the only row of a state.
func the(t *testing.T, o backlog.Operator, state backlog.State) backlog.Row {
	t.Helper()
	rows, err := o.List(t.Context(), state, 0, 10)
	require.NoError(t, err)
	require.Len(t, rows, 1, state)
	assert.Equal(t, state, rows[0].State)
	return rows[0]
}

// recorded lists the actions on a row as "action: outcome".
func recorded(t *testing.T, o backlog.Operator, id int64) (all []string) {
	t.Helper()
	actions, err := operations.New(o.Operations).ListOutboxActions(t.Context(), operations.ListOutboxActionsParams{SchemaName: o.Schema, RowID: &id})
	require.NoError(t, err)
	for _, a := range actions {
		assert.Equal(t, "alice@laptop", a.Actor)
		assert.WithinDuration(t, time.Now(), a.At, time.Minute)
		require.NotNil(t, a.Outcome)
		all = append(all, string(a.Action)+" "+a.Detail+": "+*a.Outcome)
	}
	return all
}

func TestRowsAreListedByState(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	sent := store(t, o.DB, 1)
	require.Len(t, outboxtest.Drain(t, o.DB), 1)
	parked := store(t, o.DB, 1)
	refuse(t, o.DB, fmt.Errorf("2 MB: %w", outbox.ErrTooLarge))
	discarded := store(t, o.DB, 1)
	refuse(t, o.DB, outbox.ErrTooLarge)
	rows, err := o.List(t.Context(), backlog.Parked, 0, 10)
	require.NoError(t, err)
	require.NoError(t, o.Discard(t.Context(), rows[1].ID, ""))
	waiting := store(t, o.DB, 1)
	refuse(t, o.DB, outbox.ErrRefused)
	fresh := store(t, o.DB, 1)

	for state, orderID := range map[backlog.State]string{
		backlog.Sent: sent, backlog.Parked: parked, backlog.Discarded: discarded, backlog.Waiting: waiting, backlog.New: fresh,
	} {
		row := the(t, o, state)
		assert.Equal(t, orderID, row.AggregateID)
		assert.Equal(t, "order.created", row.Type)
		assert.Less(t, row.Age, time.Minute)
		assert.Equal(t, state == backlog.Sent, row.SentAt != nil)
		assert.Equal(t, state == backlog.Waiting, row.NextAttempt != nil)
		got, err := o.Get(t.Context(), row.ID)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, got.Age, row.Age)
		got.Age = row.Age // in whole seconds, one of which may have passed between the two reads
		assert.Equal(t, row, got)
	}
	assert.Equal(t, "2 MB: too large for the broker", the(t, o, backlog.Parked).LastError)
	assert.Equal(t, 1, the(t, o, backlog.Parked).Attempts)
}

func TestListContinuesAfterAnID(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	store(t, o.DB, 5)
	var ids []int64
	for after := int64(0); ; {
		rows, err := o.List(t.Context(), backlog.New, after, 2)
		require.NoError(t, err)
		for _, row := range rows {
			after = row.ID
			ids = append(ids, row.ID)
		}
		if len(rows) < 2 {
			break
		}
	}
	assert.Len(t, ids, 5)
	assert.IsIncreasing(t, ids)
}

func TestRowsOfAllShardsAreListedFromTheOldestOn(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	var stored []string
	for range 12 {
		stored = append(stored, store(t, o.DB, 1))
	}
	rows, err := o.List(t.Context(), backlog.New, 0, 10)
	require.NoError(t, err)
	var listed []string
	for _, row := range rows {
		listed = append(listed, row.AggregateID)
	}
	assert.Equal(t, stored[:10], listed)
}

func TestRequeuedRowIsSentAsIfItHadNeverBeenRefused(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	store(t, o.DB, 1)
	refuse(t, o.DB, outbox.ErrTooLarge)
	id := the(t, o, backlog.Parked).ID
	assert.Empty(t, outboxtest.Drain(t, o.DB))

	require.NoError(t, o.Requeue(t.Context(), id, "the broker takes 4 MB now"))

	assert.Zero(t, the(t, o, backlog.Waiting).Attempts)
	assert.Len(t, outboxtest.Drain(t, o.DB), 1)
	err := o.Requeue(t.Context(), id, "")
	require.ErrorIs(t, err, backlog.ErrUnchanged)
	assert.ErrorContains(t, err, "is sent")
	assert.Empty(t, outboxtest.Drain(t, o.DB), "it is not sent twice")
	assert.Equal(t, []string{
		"REQUEUE the broker takes 4 MB now: done",
		fmt.Sprintf("REQUEUE : the row was not changed: row %d of orders is sent", id),
	}, recorded(t, o, id))
}

func TestDiscardedRowIsNeverSentAndStays(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	store(t, o.DB, 2)
	refuse(t, o.DB, outbox.ErrTooLarge) // both, one after the other: a parked row holds back nothing
	rows, err := o.List(t.Context(), backlog.Parked, 0, 10)
	require.NoError(t, err)
	require.Len(t, rows, 2)

	require.NoError(t, o.Discard(t.Context(), rows[0].ID, "of no use"))

	require.ErrorIs(t, o.Discard(t.Context(), rows[0].ID, ""), backlog.ErrUnchanged)
	require.NoError(t, o.Requeue(t.Context(), rows[1].ID, ""))
	published := outboxtest.Drain(t, o.DB)
	require.Len(t, published, 1)
	assert.Equal(t, rows[0].AggregateID+"#2", published[0].ID())
	_, err = o.Purge(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	assert.Equal(t, rows[0].ID, the(t, o, backlog.Discarded).ID, "no purge removes it")

	require.NoError(t, o.Requeue(t.Context(), rows[0].ID, "a mistake"))
	assert.Len(t, outboxtest.Drain(t, o.DB), 1)
}

func TestRowThatARelayMaySendIsNotDiscarded(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	store(t, o.DB, 1)
	id := the(t, o, backlog.New).ID
	require.ErrorIs(t, o.Discard(t.Context(), id, ""), backlog.ErrUnchanged)
	require.ErrorIs(t, o.Requeue(t.Context(), id, ""), backlog.ErrUnchanged)
	refuse(t, o.DB, outbox.ErrRefused)
	require.ErrorIs(t, o.Discard(t.Context(), id, ""), backlog.ErrUnchanged)
	assert.Equal(t, id, the(t, o, backlog.Waiting).ID)
	assert.ErrorIs(t, o.Discard(t.Context(), id+1000, ""), backlog.ErrUnchanged)
}

func TestPurgeDeletesRowsSentLongAgo(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	store(t, o.DB, 3)
	outboxtest.Drain(t, o.DB)
	_, err := o.DB.ExecContext(t.Context(), "UPDATE outbox SET created_at = created_at - INTERVAL 10 DAY, sent_at = sent_at - INTERVAL 9 DAY WHERE id < 3")
	require.NoError(t, err)
	store(t, o.DB, 1)
	before := time.Now().Add(-8 * 24 * time.Hour)
	n, err := o.CountSent(t.Context(), before)
	require.NoError(t, err)
	assert.EqualValues(t, 2, n)

	deleted, err := o.Purge(t.Context(), before)

	require.NoError(t, err)
	assert.EqualValues(t, 2, deleted)
	assert.EqualValues(t, 3, the(t, o, backlog.Sent).ID)
	assert.Equal(t, 1, mysqltest.Count(t, o.Operations, "SELECT COUNT(*) FROM outbox_actions WHERE action = 'PURGE' AND row_id IS NULL AND outcome = '2 rows deleted'"))
}

func TestNothingIsDoneThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	store(t, o.DB, 1)
	refuse(t, o.DB, outbox.ErrTooLarge)
	id := the(t, o, backlog.Parked).ID
	_, err := o.Operations.ExecContext(t.Context(), "DROP TABLE outbox_actions")
	require.NoError(t, err)

	err = o.Discard(t.Context(), id, "")

	require.ErrorContains(t, err, "harness migrate")
	assert.NotErrorIs(t, err, backlog.ErrUnchanged)
	assert.Equal(t, id, the(t, o, backlog.Parked).ID)
}

func TestActionIsRecordedBeforeItIsDone(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	_, err := o.DB.ExecContext(t.Context(), "DROP TABLE outbox")
	require.NoError(t, err)

	require.Error(t, o.Requeue(t.Context(), 1, ""))

	assert.Contains(t, recorded(t, o, 1)[0], "REQUEUE : Error 1146")
}
