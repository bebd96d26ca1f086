package console_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// TestAnOldOrderHasTheEventsOfALateConsumer has an event that was stored hours after the order's last change, by a consumer that
// was down until then, and later events of other orders.
func TestAnOldOrderHasTheEventsOfALateConsumer(t *testing.T) {
	b := newBench(t)
	inOrders, inInventory := b.pool(schema.Orders), b.pool(schema.Inventory)
	id := functiontest.OrderID()
	functiontest.Order(t, inOrders, id, orders.OrdersStatusCANCELED)
	items := []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}}
	created := functiontest.Event(t, events.OrderCreatedV1{OrderID: id, CustomerEmail: "alice@example.com", Items: items, TotalAmount: 2598, CreatedAt: time.Now()}, 1)
	reserved, err := events.New(events.InventoryReserved{OrderID: id, Reservations: []events.Quantity{{SKU: "SKU-123", Quantity: 2}}}, 1, time.Now(), events.CauseOf(created))
	require.NoError(t, err)
	b.store(schema.Orders, functiontest.Event(t, functiontest.Created(t, items...), 1), created)
	b.store(schema.Inventory, functiontest.Event(t, functiontest.Created(t, items...), 1), reserved)
	placed, handled := time.Now().Add(-10*time.Hour), time.Now().Add(-5*time.Hour)
	for _, change := range []struct {
		schema, statement string
		at                time.Time
	}{
		{schema.Orders, "UPDATE orders SET created_at = ?", placed},
		{schema.Orders, "UPDATE orders SET updated_at = ?", placed.Add(time.Second)},
		{schema.Orders, "UPDATE outbox SET created_at = ?", placed},
		{schema.Inventory, "UPDATE outbox SET created_at = ?", handled},
	} {
		_, err := b.pool(change.schema).ExecContext(t.Context(), change.statement, change.at)
		require.NoError(t, err)
	}
	require.NoError(t, messaging.New(inInventory).InsertHandled(t.Context(), messaging.InsertHandledParams{
		Consumer: "reserve-stock", Source: created.Source(), EventID: created.ID(), ProcessedAt: handled,
	}))
	for _, name := range []string{schema.Orders, schema.Inventory} {
		b.store(name, functiontest.Event(t, functiontest.Created(t, items...), 1), functiontest.Event(t, functiontest.Created(t, items...), 1))
	}

	type page struct{ Steps []struct{ Type string } }
	p := watch(b, "order:"+id, func(page) bool { return true })
	var types []string
	for _, s := range p.Steps {
		types = append(types, s.Type)
	}
	assert.Equal(t, []string{events.OrderCreatedType, events.InventoryReservedType}, types)
}
