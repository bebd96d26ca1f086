package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/inbox"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/dberror"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

const consumer = "reserve-stock"

// incoming is an event as a consumer receives it.
func incoming(source, id string) event.Event {
	e := event.New()
	e.SetSource(source)
	e.SetID(id)
	e.SetType("order.created")
	e.SetSubject("order-1")
	return e
}

// once handles e with a visible effect: one row of the outbox.
func once(ctx context.Context, db *sql.DB, consumer string, e event.Event) (duplicate bool, shards []uint8, err error) {
	return onceBy(ctx, db, consumer, e, func(context.Context, *transaction.Tx) error { return nil })
}

// onceBy is once with work that runs before the effect.
func onceBy(ctx context.Context, db *sql.DB, consumer string, e event.Event, work func(context.Context, *transaction.Tx) error) (duplicate bool, shards []uint8, err error) {
	fresh, shards, err := inbox.Once(ctx, outbox.Store{DB: db, Now: time.Now}, consumer, []event.Event{e}, true, func(ctx context.Context, tx *transaction.Tx, _ []int) ([]event.Event, error) {
		return []event.Event{effect(e.ID())}, work(ctx, tx)
	})
	return err == nil && len(fresh) == 0, shards, err
}

func effect(id string) event.Event {
	e := incoming("/inventory", "effect of "+id)
	e.SetType("inventory.reserved")
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte("{}")
	return e
}

func effects(t *testing.T, db *sql.DB) int {
	t.Helper()
	return mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox")
}

func handled(t *testing.T, db *sql.DB) int {
	t.Helper()
	return mysqltest.Count(t, db, "SELECT COUNT(*) FROM inbox")
}

func TestAnEventHasItsEffectOnce(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	e := incoming("/orders", "order-1#1")

	duplicate, shards, err := once(t.Context(), db, consumer, e)
	require.NoError(t, err)
	assert.False(t, duplicate)
	assert.Equal(t, []uint8{outbox.Shard("order-1")}, shards)

	for range 2 {
		duplicate, shards, err = once(t.Context(), db, consumer, e)
		require.NoError(t, err)
		assert.True(t, duplicate)
		assert.Empty(t, shards, "the relay has no new rows")
	}
	assert.Equal(t, 1, effects(t, db))
	assert.Equal(t, 1, handled(t, db))
}

func TestAnEventIsKnownByItsSourceAndItsID(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	cases := []struct{ consumer, source, id string }{
		{consumer, "/orders", "order-1#1"},
		{consumer, "/orders", "order-1#2"},
		{consumer, "/payments", "order-1#1"},
		{"release-stock", "/orders", "order-1#1"},
		{consumer, "/orders", "ORDER-1#1"},
		{consumer, "/Orders", "order-1#1"},
		{consumer, "/orders", "\u00f6rder-1#1"},
	}
	for n, c := range cases {
		duplicate, _, err := once(t.Context(), db, c.consumer, incoming(c.source, c.id))
		require.NoError(t, err)
		assert.False(t, duplicate, "%v", c)
		assert.Equal(t, n+1, effects(t, db))
	}
}

func TestTwentyDeliveriesAtOnceHaveOneEffect(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	e := incoming("/orders", "order-1#1")
	var first, again atomic.Int32

	functiontest.Concurrently(20, func(int) {
		duplicate, _, err := once(t.Context(), db, consumer, e)
		assert.NoError(t, err)
		if duplicate {
			again.Add(1)
		} else {
			first.Add(1)
		}
	})

	assert.EqualValues(t, 1, first.Load())
	assert.EqualValues(t, 19, again.Load())
	assert.Equal(t, 1, effects(t, db))
}

func TestWorkThatFailsLeavesNoRecord(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	e := incoming("/orders", "order-1#1")
	broken := errors.New("stock cannot be read")
	duplicate, shards, err := onceBy(t.Context(), db, consumer, e, func(context.Context, *transaction.Tx) error { return broken })
	assert.ErrorIs(t, err, broken)
	assert.False(t, duplicate)
	assert.Empty(t, shards)
	assert.Zero(t, handled(t, db))
	assert.Zero(t, effects(t, db))

	duplicate, _, err = once(t.Context(), db, consumer, e)
	require.NoError(t, err)
	assert.False(t, duplicate, "the next delivery takes effect")
}

func TestASecondDeliveryWaitsForTheFirst(t *testing.T) {
	cases := map[string]struct {
		first         error
		wantDuplicate bool
	}{
		"and is a duplicate when it commits":  {nil, true},
		"and has the effect when it fails":    {errors.New("stock cannot be read"), false},
		"and has the effect when it gives up": {context.Canceled, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Inventory)
			e := incoming("/orders", "order-1#1")
			working, finish := make(chan struct{}), make(chan struct{})
			first, second := make(chan error, 1), make(chan error, 1)
			go func() {
				_, _, err := onceBy(t.Context(), db, consumer, e, func(ctx context.Context, tx *transaction.Tx) error {
					_, err := tx.ExecContext(ctx, "DO 1") // sends the deferred inbox row to the server
					close(working)
					<-finish
					return errors.Join(c.first, err)
				})
				first <- err
			}()
			<-working
			var duplicate bool
			go func() {
				var err error
				duplicate, _, err = once(t.Context(), db, consumer, e)
				second <- err
			}()
			servertest.AwaitRunning(t, db, "InsertHandled", 1)
			close(finish)

			assert.ErrorIs(t, <-first, c.first)
			require.NoError(t, <-second)
			assert.Equal(t, c.wantDuplicate, duplicate)
			assert.Equal(t, 1, effects(t, db))
			assert.Equal(t, 1, handled(t, db))
		})
	}
}

func TestALostConnectionIsNoSecondEffect(t *testing.T) {
	server := mysqltest.Server(t)
	db := mysqltest.Pool(t, server, schema.Inventory)
	e := incoming("/orders", "order-1#1")
	runs := 0
	duplicate, _, err := onceBy(t.Context(), db, consumer, e, func(ctx context.Context, tx *transaction.Tx) error {
		if runs++; runs == 1 {
			var id int
			require.NoError(t, tx.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id))
			_, err := db.ExecContext(ctx, "KILL ?", id)
			require.NoError(t, err)
		}
		return nil
	})
	require.NoError(t, err)
	assert.False(t, duplicate)
	assert.Equal(t, 2, runs)
	assert.Equal(t, 1, effects(t, db))
}

func TestEachEventOfABatchHasItsEffectOnce(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	var es []event.Event
	for n := range 5 {
		es = append(es, incoming("/orders", fmt.Sprint("order-1#", n)))
	}
	_, _, err := once(t.Context(), db, consumer, es[1])
	require.NoError(t, err)
	_, _, err = once(t.Context(), db, "release-stock", es[2])
	require.NoError(t, err)
	// One of them twice, and one of another source.
	group := append(slices.Clone(es), es[3], incoming("/payments", es[1].ID()))
	each := func(_ context.Context, _ *transaction.Tx, fresh []int) (emitted []event.Event, err error) {
		for _, i := range fresh {
			emitted = append(emitted, effect(group[i].ID()))
		}
		return emitted, nil
	}

	fresh, shards, err := inbox.Once(t.Context(), outbox.Store{DB: db, Now: time.Now}, consumer, group, false, each)
	require.NoError(t, err)
	assert.Equal(t, []int{0, 2, 3, 4, 6}, fresh)
	assert.Len(t, shards, 5)
	assert.Equal(t, 2+5, effects(t, db))

	fresh, shards, err = inbox.Once(t.Context(), outbox.Store{DB: db, Now: time.Now}, consumer, group, false, each)
	require.NoError(t, err)
	assert.Empty(t, fresh)
	assert.Empty(t, shards)
	assert.Equal(t, 2+5, effects(t, db))
}

func TestABatchThatFailsLeavesNoRecord(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	broken := errors.New("stock cannot be read")
	_, _, err := inbox.Once(t.Context(), outbox.Store{DB: db, Now: time.Now}, consumer, []event.Event{incoming("/orders", "a#1"), incoming("/orders", "b#1")}, false,
		func(context.Context, *transaction.Tx, []int) ([]event.Event, error) { return nil, broken })
	assert.ErrorIs(t, err, broken)
	assert.Zero(t, handled(t, db))
}

func TestABatchOfOneTakesItsEventToBeNewAndFailsWhenItIsNot(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	e := incoming("/orders", "order-1#1")
	batch := func() ([]int, error) {
		fresh, _, err := inbox.Once(t.Context(), outbox.Store{DB: db, Now: time.Now}, consumer, []event.Event{e}, false,
			func(context.Context, *transaction.Tx, []int) ([]event.Event, error) {
				return []event.Event{effect(e.ID())}, nil
			})
		return fresh, err
	}

	fresh, err := batch()
	require.NoError(t, err)
	assert.Equal(t, []int{0}, fresh)
	_, err = batch()
	require.True(t, dberror.IsDuplicate(err), err)

	duplicate, _, err := once(t.Context(), db, consumer, e)
	require.NoError(t, err)
	assert.True(t, duplicate)
	assert.Equal(t, 1, effects(t, db))
}
