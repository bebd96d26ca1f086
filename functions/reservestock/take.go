package reservestock

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/transaction"
)

// take reserves the units of an order and reads nothing: it assumes that the order has no row in reservations and that its SKUs
// have enough units. All its statements are sent with the commit, in one round trip, and the first that finds otherwise fails and
// ends the transaction: a second row of the order is a duplicate, a level below zero violates a constraint, and of a SKU that does not
// exist no row has changed. It writes what reserveLocked would, and takes the locks in the same order.
func take(ctx context.Context, tx *transaction.Tx, o order, now time.Time) (event.Event, error) {
	wanted := sum(o.items)
	skus, quantities := make([]string, len(wanted)), make([]string, len(wanted))
	for i, w := range wanted {
		skus[i], quantities[i] = w.SKU, strconv.FormatInt(w.Quantity, 10)
	}
	q := inventory.New(tx.Deferred())
	if err := q.InsertReservation(ctx, inventory.InsertReservationParams{
		OrderID: o.id, Status: inventory.ReservationsStatusRESERVED, CreatedAt: now, UpdatedAt: now,
	}); err != nil {
		return event.Event{}, fmt.Errorf("store the reservation of order %s: %w", o.id, err)
	}
	if err := q.TakeStock(ctx, inventory.TakeStockParams{Skus: skus, Quantities: quantities, UpdatedAt: now}); err != nil {
		return event.Event{}, fmt.Errorf("take the units of %d SKUs for order %s: %w", len(skus), o.id, err)
	}
	if err := tx.MustHaveChanged(ctx, len(wanted)); err != nil {
		return event.Event{}, fmt.Errorf("compare the SKUs that were taken for order %s: %w", o.id, err)
	}
	if err := q.InsertReservationLogs(ctx, logRows(o.event, o.id, inventory.ReservationsStatusRESERVED, wanted, now)); err != nil {
		return event.Event{}, fmt.Errorf("log the units of order %s: %w", o.id, err)
	}
	return events.New(events.InventoryReserved{OrderID: o.id, Reservations: wanted}, 1, now, events.CauseOf(o.event))
}
