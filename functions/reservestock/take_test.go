package reservestock

import (
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/schema"
)

// asking returns an order.created that asks for some units of each of several SKUs.
func asking(t *testing.T, units int64, skus ...string) event.Event {
	t.Helper()
	items := make([]events.Item, len(skus))
	for i, sku := range skus {
		items[i] = events.Item{SKU: sku, Quantity: units, UnitPrice: 1}
	}
	return functiontest.Event(t, functiontest.Created(t, items...), 1)
}

func TestAnOrderThatComesAloneTakesOneRoundTrip(t *testing.T) {
	server, traffic := mysqltest.Counted(t, mysqltest.Server(t))
	f := quiet(t, mysqltest.Pool(t, server, schema.Inventory))
	stock(t, f.DB, "A", 10)
	stock(t, f.DB, "B", 10)
	require.NoError(t, f.Handle(t.Context(), asking(t, 1, "A")))
	before := traffic.Statements.Load()

	require.NoError(t, f.Handle(t.Context(), asking(t, 2, "B", "A")))

	assert.Equal(t, int64(1), traffic.Statements.Load()-before)
	assert.Equal(t, []level{{7, 3}, {8, 2}}, []level{levelOf(t, f.DB, "A"), levelOf(t, f.DB, "B")})
}

func TestTakingWritesWhatReservingUnderTheLocksWrites(t *testing.T) {
	server := mysqltest.Server(t)
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	taking, locking := quiet(t, mysqltest.Pool(t, server, schema.Inventory)), quiet(t, mysqltest.Open(t, schema.Inventory))
	locking.careful.Store(now.Add(time.Hour).UnixNano())
	es := []event.Event{asking(t, 3, "A", "B"), asking(t, 1, "B"), asking(t, 2, "A", "B", "C", "A")}
	for _, f := range []*Function{taking, locking} {
		f.Now = func() time.Time { return now }
		for _, sku := range []string{"A", "B", "C", "D"} {
			stock(t, f.DB, sku, 10)
		}
		_, err := f.DB.ExecContext(t.Context(), "UPDATE inventory SET updated_at = ?", now.Add(-time.Hour))
		require.NoError(t, err)
		for _, e := range es {
			require.NoError(t, f.Handle(t.Context(), e))
		}
	}
	assert.Equal(t, state(t, locking.DB), state(t, taking.DB))
	assert.Zero(t, taking.careful.Load())
}

func TestAfterARejectionOrdersAreDecidedUnderTheLocksForASecond(t *testing.T) {
	server, traffic := mysqltest.Counted(t, mysqltest.Server(t))
	f := quiet(t, mysqltest.Pool(t, server, schema.Inventory))
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	f.Now = func() time.Time { return now }
	stock(t, f.DB, "A", 10)
	trips := func(e event.Event) int64 {
		before := traffic.Statements.Load()
		require.NoError(t, f.Handle(t.Context(), e))
		return traffic.Statements.Load() - before
	}
	trips(asking(t, 1, "A")) // it opens a connection
	require.Equal(t, int64(1), trips(asking(t, 1, "A")))

	rejected := trips(asking(t, 100, "A"))
	assert.Greater(t, rejected, trips(asking(t, 100, "A")), "the first one is tried twice")
	assert.Equal(t, int64(2), trips(asking(t, 1, "A")))
	now = now.Add(carefulFor + 1)
	assert.Equal(t, int64(1), trips(asking(t, 1, "A")))

	assert.Equal(t, level{6, 4}, levelOf(t, f.DB, "A"))
	assert.ElementsMatch(t, []string{
		events.InventoryReservedType, events.InventoryReservedType, events.InventoryRejectedType, events.InventoryRejectedType,
		events.InventoryReservedType, events.InventoryReservedType,
	}, outboxtest.Types(outboxtest.Drain(t, f.DB)))
}

// Each of the assumptions is wrong once; nothing of the first attempt may stay.
func TestWhatIsTakenWronglyIsTakenBack(t *testing.T) {
	for name, c := range map[string]struct {
		before string // a statement with the order's id
		skus   []string
		want   []string // the types that are emitted
		status string
	}{
		"one SKU has too few units": {"UPDATE inventory SET available_qty = 1 WHERE sku = 'B' AND ? <> ''", []string{"A", "B"}, []string{events.InventoryRejectedType}, "REJECTED"},
		"one SKU does not exist":    {"DELETE FROM inventory WHERE sku = 'B' AND ? <> ''", []string{"A", "B"}, []string{events.InventoryRejectedType}, "REJECTED"},
		"no SKU exists":             {"DELETE FROM inventory WHERE ? <> ''", []string{"A", "B"}, []string{events.InventoryRejectedType}, "REJECTED"},
		"the order was released":    {"INSERT INTO reservations (order_id, status, version, created_at, updated_at) VALUES (?, 'RELEASED', 0, NOW(6), NOW(6))", []string{"A"}, []string{}, "RELEASED"},
		"the order was reserved":    {"INSERT INTO reservations (order_id, status, version, created_at, updated_at) VALUES (?, 'RESERVED', 1, NOW(6), NOW(6))", []string{"A"}, []string{}, "RESERVED"},
	} {
		t.Run(name, func(t *testing.T) {
			f := quiet(t, nil)
			stock(t, f.DB, "A", 10)
			stock(t, f.DB, "B", 10)
			e := asking(t, 2, c.skus...)
			_, err := f.DB.ExecContext(t.Context(), c.before, e.Subject())
			require.NoError(t, err)
			levels := mysqltest.Rows(t, f.DB, "SELECT sku, available_qty, reserved_qty, version FROM inventory ORDER BY sku")

			require.NoError(t, f.Handle(t.Context(), e))

			assert.Equal(t, levels, mysqltest.Rows(t, f.DB, "SELECT sku, available_qty, reserved_qty, version FROM inventory ORDER BY sku"))
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM reservations WHERE order_id = ? AND status = ?", e.Subject(), c.status))
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox"))
			assert.Equal(t, c.want, outboxtest.Types(outboxtest.Drain(t, f.DB)))
		})
	}
}
