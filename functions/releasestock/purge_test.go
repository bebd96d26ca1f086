package releasestock

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

// tick is the event of a PingSource.
func tick() event.Event {
	e := event.New()
	e.SetType(base.TickType)
	e.SetSource("/apis/v1/namespaces/default/pingsources/release-stock")
	e.SetID(uuid.NewString())
	return e
}

// clock starts a function that keeps the log of an order for an hour by a clock that the test sets.
func clock(t *testing.T) (f *Function, now *time.Time) {
	t.Helper()
	f = New()
	now = new(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	f.Now = func() time.Time { return *now }
	return functiontest.Start(t, f, map[string]string{"RESERVATION_LOG_RETENTION": "1h"}), now
}

func TestTicksForgetTheLogOfOrdersThatHoldNothing(t *testing.T) {
	f, now := clock(t)
	stock(t, f.DB, "A", 100)
	held, rejected, released := functiontest.OrderID(), functiontest.OrderID(), functiontest.OrderID()
	for _, orderID := range []string{held, released} {
		reserve(t, f.DB, orderID, events.Quantity{SKU: "A", Quantity: 2})
	}
	reserve(t, f.DB, rejected)
	require.NoError(t, f.Handle(t.Context(), canceled(t, released, 2)))
	_, err := f.DB.ExecContext(t.Context(), `INSERT INTO reservation_log (source, event_id, sku, order_id, delta_reserved, status, created_at)
		VALUES ('/orders', ?, 'Z', ?, 0, 'REJECTED', ?)`, rejected+"#1", rejected, *now)
	require.NoError(t, err)
	_, err = f.DB.ExecContext(t.Context(), "UPDATE reservations SET updated_at = ?", *now)
	require.NoError(t, err)
	logged := func(orderID string) int {
		return mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservation_log WHERE order_id = ?", orderID)
	}

	*now = now.Add(time.Hour)
	require.NoError(t, f.Handle(t.Context(), tick()))
	assert.Equal(t, []int{1, 1, 2}, []int{logged(held), logged(rejected), logged(released)}, "an hour is not over yet")

	*now = now.Add(time.Microsecond)
	require.NoError(t, f.Handle(t.Context(), tick()))
	assert.Equal(t, []int{1, 0, 0}, []int{logged(held), logged(rejected), logged(released)})
	assert.Equal(t, levelOf(t, f.DB, "A").reserved, mysqltest.Count(t, f.DB, "SELECT SUM(delta_reserved) FROM reservation_log WHERE sku = 'A'"))
	// The status of the order stays: a late event still finds it.
	assert.Equal(t, 3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservations"))
	late := canceled(t, released, 3)
	require.NoError(t, f.Handle(t.Context(), late))
	assert.Equal(t, level{98, 2}, levelOf(t, f.DB, "A"))
}

func TestTicksOverlapAndAreHeededEachTime(t *testing.T) {
	f, now := clock(t)
	stock(t, f.DB, "A", 100)
	for range 20 {
		orderID := functiontest.OrderID()
		reserve(t, f.DB, orderID, events.Quantity{SKU: "A", Quantity: 2})
		require.NoError(t, f.Handle(t.Context(), canceled(t, orderID, 2)))
	}
	*now = now.Add(2 * time.Hour)
	same := tick()
	functiontest.Concurrently(4, func(int) { assert.NoError(t, f.Handle(t.Context(), same)) })
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservation_log"))
	assert.Equal(t, 20, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"), "a tick is not a fact, so the inbox does not record it")
}

// A tick reads 10,000 orders; the next one continues there, and starts over at the end.
func TestTicksWalkThroughAllOrders(t *testing.T) {
	f, now := clock(t)
	const orders = purgeStep*purgeSteps + 10
	id := func(i int) string { return fmt.Sprintf("00000000-0000-7000-8000-%012d", i) }
	for from := 0; from < orders; from += 1000 {
		var values []string
		for i := from; i < min(from+1000, orders); i++ {
			values = append(values, "('"+id(i)+"', 'RELEASED', 2, '2026-11-25 10:00:00', '2026-11-25 10:00:00')")
		}
		_, err := f.DB.ExecContext(t.Context(), "INSERT INTO reservations (order_id, status, version, created_at, updated_at) VALUES "+strings.Join(values, ", "))
		require.NoError(t, err)
	}
	log := func(i int) {
		_, err := f.DB.ExecContext(t.Context(), `INSERT INTO reservation_log (source, event_id, sku, order_id, delta_reserved, status, created_at)
			VALUES ('/orders', ?, 'A', ?, 0, 'RELEASED', ?)`, id(i)+"#2", id(i), *now)
		require.NoError(t, err)
	}
	logged := func() int { return mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservation_log") }
	log(0)
	log(orders - 1)

	require.NoError(t, f.Handle(t.Context(), tick()))
	assert.Equal(t, 1, logged(), "the last order is beyond the first 10,000")
	log(0)
	require.NoError(t, f.Handle(t.Context(), tick()))
	assert.Equal(t, 1, logged(), "the first order was passed")
	require.NoError(t, f.Handle(t.Context(), tick()))
	assert.Zero(t, logged())
}

func TestAFailedTickIsTriedAgain(t *testing.T) {
	f, _ := clock(t)
	_, err := f.DB.ExecContext(t.Context(), "DROP TABLE reservations")
	require.NoError(t, err)
	functiontest.AssertRetried(t, f.Handle(t.Context(), tick()))
}

func TestReleaseReadsItsRetention(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	assert.Equal(t, 40*24*time.Hour, f.Retention)
	for name, text := range map[string]string{"a word": "long", "no unit": "40", "none": "0s", "negative": "-1h"} {
		t.Run(name, func(t *testing.T) {
			err := New().Start(t.Context(), map[string]string{"RESERVATION_LOG_RETENTION": text})
			assert.ErrorContains(t, err, "RESERVATION_LOG_RETENTION")
		})
	}
}
