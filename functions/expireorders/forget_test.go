package expireorders

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/orders"
)

func TestTicksForgetTheCustomersOfOldOrders(t *testing.T) {
	f := start(t)
	f.Retention = 24 * time.Hour
	old := map[orders.OrdersStatus]string{}
	for _, status := range []orders.OrdersStatus{orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED} {
		old[status] = order(t, f, 25*time.Hour, status)
	}
	changed := order(t, f, 25*time.Hour, orders.OrdersStatusCANCELED)
	young := order(t, f, 23*time.Hour, orders.OrdersStatusCONFIRMED)
	_, err := f.DB.ExecContext(t.Context(), "UPDATE orders SET updated_at = ?, idempotency_key_hash = UNHEX(SHA2(id, 256))", noon.Add(-24*time.Hour-time.Microsecond))
	require.NoError(t, err)
	_, err = f.DB.ExecContext(t.Context(), "UPDATE orders SET updated_at = ? WHERE id = ?", noon.Add(-24*time.Hour), changed)
	require.NoError(t, err)

	for range 2 {
		require.NoError(t, f.Handle(t.Context(), tick("1")))
		for status, id := range old {
			row := functiontest.Stored(t, f.DB, id)
			assert.Equal(t, events.Forgotten, row.CustomerEmail, status)
			assert.Equal(t, []any{status, int64(2598), 2, noon.Add(-24*time.Hour - time.Microsecond)}, []any{row.Status, row.TotalAmount, row.Version, row.UpdatedAt}, "the order stays")
		}
		for _, id := range []string{changed, young} {
			assert.Equal(t, "alice@example.com", functiontest.Stored(t, f.DB, id).CustomerEmail)
		}
	}
	assert.Equal(t, 3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE idempotency_key_hash IS NULL AND correlation_id = id AND request_hash = REPEAT(CHAR(0), 32)"))
	assert.Equal(t, 5, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM order_items"))
}

// A pending order is never forgotten: it is still to be confirmed, or to fail, and its customer to be told.
func TestTicksForgetNoOrderUnderWay(t *testing.T) {
	f := start(t)
	f.Timeout, f.Retention = 100*time.Hour, time.Hour
	id := order(t, f, 2*time.Hour, orders.OrdersStatusPENDING)
	_, err := f.DB.ExecContext(t.Context(), "UPDATE orders SET updated_at = ?", noon.Add(-2*time.Hour))
	require.NoError(t, err)

	require.NoError(t, f.Handle(t.Context(), tick("1")))
	assert.Equal(t, "alice@example.com", functiontest.Stored(t, f.DB, id).CustomerEmail)

	changed, err := orders.New(f.DB).ForgetOrders(t.Context(), orders.ForgetOrdersParams{Forgotten: events.Forgotten, Ids: []string{id}})
	require.NoError(t, err)
	assert.Zero(t, changed)
}

func TestOrdersAreKeptUnlessARetentionIsSet(t *testing.T) {
	f := start(t)
	assert.Zero(t, f.Retention)
	id := order(t, f, 10*365*24*time.Hour, orders.OrdersStatusCONFIRMED)
	require.NoError(t, f.Handle(t.Context(), tick("1")))
	assert.Equal(t, "alice@example.com", functiontest.Stored(t, f.DB, id).CustomerEmail)

	g := functiontest.Start(t, New(), map[string]string{"RETAIN_ORDERS": "8760h"})
	assert.Equal(t, 365*24*time.Hour, g.Retention)
	for name, text := range map[string]string{"a word": "long", "no unit": "40", "none": "0s", "negative": "-1h"} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, New().Start(t.Context(), map[string]string{"RETAIN_ORDERS": text}), "RETAIN_ORDERS")
		})
	}
}
