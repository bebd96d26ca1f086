package functiontest

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/sql/orders"
)

// OrderCorrelationID is the correlation id of every order of Order.
const OrderCorrelationID = "flow-of-the-order"

// Order stores an order of alice@example.com, 2 of SKU-123 at 1299, in the orders schema of db, as if its facts so far had
// been relayed: only order.created if it is PENDING, else two.
func Order(t testing.TB, db *sql.DB, id string, status orders.OrdersStatus) {
	t.Helper()
	version := 2
	if status == orders.OrdersStatusPENDING {
		version = 1
	}
	q, now := orders.New(db), time.Now()
	item := events.Item{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}
	asked := events.CreateOrder{CustomerEmail: "alice@example.com", Items: []events.Item{item}}
	fingerprint := asked.Fingerprint()
	require.NoError(t, q.InsertOrder(t.Context(), orders.InsertOrderParams{
		ID: id, CustomerEmail: asked.CustomerEmail, Status: status, TotalAmount: 2598, Currency: "EUR", Version: version,
		RequestHash: fingerprint[:], CorrelationID: OrderCorrelationID, CreatedAt: now, UpdatedAt: now,
	}))
	require.NoError(t, q.InsertItem(t.Context(), orders.InsertItemParams{OrderID: id, Sku: item.SKU, UnitPrice: item.UnitPrice, Quantity: item.Quantity}))
}

// Stored returns the current row of an order.
func Stored(t testing.TB, db *sql.DB, id string) orders.GetOrderRow {
	t.Helper()
	row, err := orders.New(db).GetOrder(t.Context(), id)
	require.NoError(t, err)
	return row
}
