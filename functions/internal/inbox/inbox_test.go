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

	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/inbox"
	"example.com/orders/functions/internal/mysqltest"
	"example.com/orders/functions/internal/outbox"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

const consumer = "reserve-stock"

// incoming is an event as it comes to a consumer.
func incoming(source, id string) event.Event {
	e := event.New()
	e.SetSource(source)
	e.SetID(id)
	e.SetType("order.created")
	e.SetSubject("order-1")
	return e
}

// once handles e with an effect that shows: one row of the outbox.
func once(ctx context.Context, db *sql.DB, consumer string, e event.Event) (duplicate bool, shards []uint8, err error) {
	return inbox.Once(ctx, db, consumer, e, time.Now, func(context.Context, *sql.Tx) ([]event.Event, error) {
		return []event.Event{effect(e.ID())}, nil
	})
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
		assert.Empty(t, shards, "nothing is new for the relay")
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
	duplicate, shards, err := inbox.Once(t.Context(), db, consumer, e, time.Now, func(context.Context, *sql.Tx) ([]event.Event, error) {
		return []event.Event{effect(e.ID())}, broken
	})
	assert.ErrorIs(t, err, broken)
	assert.False(t, duplicate)
	assert.Empty(t, shards)
	assert.Zero(t, handled(t, db))
	assert.Zero(t, effects(t, db))

	duplicate, _, err = once(t.Context(), db, consumer, e)
	require.NoError(t, err)
	assert.False(t, duplicate, "the next delivery has the effect")
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
				_, _, err := inbox.Once(t.Context(), db, consumer, e, time.Now, func(context.Context, *sql.Tx) ([]event.Event, error) {
					close(working)
					<-finish
					return []event.Event{effect(e.ID())}, c.first
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
	duplicate, _, err := inbox.Once(t.Context(), db, consumer, e, time.Now, func(ctx context.Context, tx *sql.Tx) ([]event.Event, error) {
		if runs++; runs == 1 {
			var id int
			require.NoError(t, tx.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id))
			_, err := db.ExecContext(ctx, "KILL ?", id)
			require.NoError(t, err)
		}
		return []event.Event{effect(e.ID())}, nil
	})
	require.NoError(t, err)
	assert.False(t, duplicate)
	assert.Equal(t, 2, runs)
	assert.Equal(t, 1, effects(t, db))
}

func TestEachEventOfAGroupHasItsEffectOnce(t *testing.T) {
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
	each := func(_ context.Context, _ *sql.Tx, fresh []int) (emitted []event.Event, err error) {
		for _, i := range fresh {
			emitted = append(emitted, effect(group[i].ID()))
		}
		return emitted, nil
	}

	fresh, shards, err := inbox.OnceEach(t.Context(), db, consumer, group, time.Now, each)
	require.NoError(t, err)
	assert.Equal(t, []int{0, 2, 3, 4, 6}, fresh)
	assert.Len(t, shards, 5)
	assert.Equal(t, 2+5, effects(t, db))

	fresh, shards, err = inbox.OnceEach(t.Context(), db, consumer, group, time.Now, each)
	require.NoError(t, err)
	assert.Empty(t, fresh)
	assert.Empty(t, shards)
	assert.Equal(t, 2+5, effects(t, db))
}

func TestAGroupThatFailsLeavesNoRecord(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	broken := errors.New("stock cannot be read")
	_, _, err := inbox.OnceEach(t.Context(), db, consumer, []event.Event{incoming("/orders", "a#1"), incoming("/orders", "b#1")}, time.Now,
		func(context.Context, *sql.Tx, []int) ([]event.Event, error) { return nil, broken })
	assert.ErrorIs(t, err, broken)
	assert.Zero(t, handled(t, db))
}

func TestAGroupOfOneIsTakenToBeNewAndFailsWhenItIsNot(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	e := incoming("/orders", "order-1#1")
	alone := func() ([]int, error) {
		fresh, _, err := inbox.OnceEach(t.Context(), db, consumer, []event.Event{e}, time.Now,
			func(context.Context, *sql.Tx, []int) ([]event.Event, error) {
				return []event.Event{effect(e.ID())}, nil
			})
		return fresh, err
	}

	fresh, err := alone()
	require.NoError(t, err)
	assert.Equal(t, []int{0}, fresh)
	_, err = alone()
	require.True(t, schema.IsDuplicate(err), err)
	assert.Equal(t, 1, effects(t, db))

	duplicate, _, err := once(t.Context(), db, consumer, e)
	require.NoError(t, err)
	assert.True(t, duplicate)
	assert.Equal(t, 1, effects(t, db))
}
