package reservestock

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/mysqltest"
	"example.com/orders/functions/internal/outboxtest"
)

func stock(t *testing.T, db *sql.DB, sku string, available int) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES (?, ?, 0, 1, NOW(6))", sku, available)
	require.NoError(t, err)
}

type level struct{ available, reserved int }

func levelOf(t *testing.T, db *sql.DB, sku string) (l level) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT available_qty, reserved_qty FROM inventory WHERE sku = ?", sku).Scan(&l.available, &l.reserved))
	return l
}

func TestReserveTakesTheSumOfTheLines(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	stock(t, f.DB, "A", 10)
	stock(t, f.DB, "B", 10)
	order := functiontest.Created(t, events.Item{SKU: "B", Quantity: 1, UnitPrice: 5}, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}, events.Item{SKU: "B", Quantity: 3, UnitPrice: 6})
	e := functiontest.Event(t, order, 1)

	require.NoError(t, f.Handle(t.Context(), e))

	assert.Equal(t, level{8, 2}, levelOf(t, f.DB, "A"))
	assert.Equal(t, level{6, 4}, levelOf(t, f.DB, "B"))
	told := outboxtest.Drain(t, f.DB)
	require.Len(t, told, 1)
	fact, err := events.Decode[events.InventoryReserved](told[0])
	require.NoError(t, err)
	assert.Equal(t, events.InventoryReserved{OrderID: order.OrderID, Reservations: []events.Quantity{{SKU: "A", Quantity: 2}, {SKU: "B", Quantity: 4}}}, fact)
	assert.Equal(t, functiontest.CorrelationID, told[0].Extensions()["correlationid"])
	assert.Equal(t, e.ID(), told[0].Extensions()["causationid"])
}

func TestReserveIgnoresRedelivery(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	stock(t, f.DB, "A", 10)
	e := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}), 1)

	require.NoError(t, f.Handle(t.Context(), e))
	require.NoError(t, f.Handle(t.Context(), e))

	assert.Equal(t, level{8, 2}, levelOf(t, f.DB, "A"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}

func TestReserveRefusesWhatIsMalformed(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	e := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 2, UnitPrice: 7}), 1)

	functiontest.AssertPoison(t, f.Handle(t.Context(), functiontest.Broken(e)))

	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
}
