// Package reservestock sets stock aside. Consumes order.created; emits inventory.reserved or inventory.rejected.
package reservestock

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/instance"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/schema"
)

// Function sets stock aside.
type Function struct{ instance.Instance }

// New returns the function as it is deployed.
func New() *Function {
	return &Function{instance.Instance{Name: "reserve-stock", Schema: schema.Inventory}}
}

// Handle reserves all lines of an order or none.
func (f *Function) Handle(ctx context.Context, e event.Event) error {
	if e.Type() != events.OrderCreatedType {
		return f.Refuse(ctx, e)
	}
	return instance.React(ctx, &f.Instance, e, f.reserve)
}

// HandleBatch is Handle for several events of one type, in one transaction; delivery.ErrAlone answers when it failed.
func (f *Function) HandleBatch(ctx context.Context, es []event.Event) []error {
	if es[0].Type() != events.OrderCreatedType {
		return f.RefuseAll(ctx, es)
	}
	return instance.ReactGroup(ctx, &f.Instance, es, f.reserveAll)
}

// reserve takes the order's row in reservations first: releasing does too, so that whoever comes second sees what the
// first has done. An order whose row is there already was reserved, rejected or released before: nothing to do. Then
// it takes the rows of all SKUs in their order, decides under the locks, and writes once.
func (f *Function) reserve(ctx context.Context, tx *sql.Tx, e event.Event, order events.OrderCreated) ([]event.Event, error) {
	q, now := inventory.New(tx), f.Now()
	opened, err := q.OpenReservation(ctx, inventory.OpenReservationParams{OrderID: order.OrderID, CreatedAt: now, UpdatedAt: now})
	if err != nil {
		return nil, fmt.Errorf("open the reservation of order %s: %w", order.OrderID, err)
	}
	if opened == 0 {
		return nil, nil
	}
	wanted := sum(order.Items)
	stock, err := lock(ctx, q, wanted)
	if err != nil {
		return nil, err
	}
	fact, status := judge(order.OrderID, wanted, stock, now)
	if status == inventory.ReservationsStatusRESERVED {
		if err := take(ctx, q, wanted, now); err != nil {
			return nil, err
		}
	}
	if err := record(ctx, q, e, order.OrderID, status, wanted, now); err != nil {
		return nil, err
	}
	told, err := events.New(fact, 1, now, events.CauseOf(e))
	return []event.Event{told}, err
}

// sum adds up the lines of each SKU, in the order of the SKUs.
func sum(items []events.Item) []events.Quantity {
	units := make(map[string]int64, len(items))
	for _, item := range items {
		units[item.SKU] += item.Quantity
	}
	wanted := make([]events.Quantity, 0, len(units))
	for _, sku := range slices.Sorted(maps.Keys(units)) {
		wanted = append(wanted, events.Quantity{SKU: sku, Quantity: units[sku]})
	}
	return wanted
}

// lock returns the free units of the wanted SKUs that there are, and keeps their rows.
func lock(ctx context.Context, q *inventory.Queries, wanted []events.Quantity) (map[string]int64, error) {
	skus := make([]string, len(wanted))
	for i, w := range wanted {
		skus[i] = w.SKU
	}
	rows, err := q.LockStocks(ctx, skus)
	if err != nil {
		return nil, fmt.Errorf("lock the stock of %d SKUs: %w", len(skus), err)
	}
	stock := make(map[string]int64, len(rows))
	for _, row := range rows {
		stock[row.Sku] = row.AvailableQty
	}
	return stock, nil
}

// judge decides on an order by the free units of those SKUs that there are: all that it wants, or nothing.
func judge(orderID string, wanted []events.Quantity, stock map[string]int64, now time.Time) (events.Data, inventory.ReservationsStatus) {
	shortages, unknown := short(wanted, stock)
	if len(shortages) == 0 {
		return events.InventoryReserved{OrderID: orderID, Reservations: wanted}, inventory.ReservationsStatusRESERVED
	}
	reason := events.ReasonOutOfStock
	if unknown {
		reason = events.ReasonUnknownSKU
	}
	return events.InventoryRejected{OrderID: orderID, Reason: reason, Shortages: shortages, CreatedAt: now}, inventory.ReservationsStatusREJECTED
}

// short lists every SKU of which too few units are free, and tells whether one of them is not known at all.
func short(wanted []events.Quantity, stock map[string]int64) (shortages []events.Shortage, unknown bool) {
	for _, w := range wanted {
		available, known := stock[w.SKU]
		if available < w.Quantity {
			shortages = append(shortages, events.Shortage{SKU: w.SKU, Requested: w.Quantity, Available: available})
			unknown = unknown || !known
		}
	}
	return shortages, unknown
}

func take(ctx context.Context, q *inventory.Queries, wanted []events.Quantity, now time.Time) error {
	for _, w := range wanted {
		taken, err := q.TakeStock(ctx, inventory.TakeStockParams{Sku: w.SKU, Quantity: w.Quantity, UpdatedAt: now})
		if err != nil {
			return fmt.Errorf("reserve %d of %s: %w", w.Quantity, w.SKU, err)
		}
		if taken != 1 {
			return fmt.Errorf("reserve %d of %s: the stock changed under its lock", w.Quantity, w.SKU)
		}
	}
	return nil
}

// record writes what the event did to each SKU, and what has become of the order.
func record(ctx context.Context, q *inventory.Queries, e event.Event, orderID string, status inventory.ReservationsStatus, wanted []events.Quantity, now time.Time) error {
	if err := q.InsertReservationLogs(ctx, logRows(e, orderID, status, wanted, now)); err != nil {
		return fmt.Errorf("log the reservation of order %s: %w", orderID, err)
	}
	if err := q.SetReservation(ctx, inventory.SetReservationParams{OrderID: orderID, Status: status, Version: 1, UpdatedAt: now}); err != nil {
		return fmt.Errorf("set the reservation of order %s to %s: %w", orderID, status, err)
	}
	return nil
}

// logRows are the lines of the log that tell what the event did to each SKU.
func logRows(e event.Event, orderID string, status inventory.ReservationsStatus, wanted []events.Quantity, now time.Time) []inventory.InsertReservationLogParams {
	rows := make([]inventory.InsertReservationLogParams, len(wanted))
	for i, w := range wanted {
		rows[i] = inventory.InsertReservationLogParams{
			Source: e.Source(), EventID: e.ID(), Sku: w.SKU, OrderID: orderID,
			Status: inventory.ReservationLogStatus(status), CreatedAt: now,
		}
		if status == inventory.ReservationsStatusRESERVED {
			rows[i].DeltaReserved = w.Quantity
		}
	}
	return rows
}
