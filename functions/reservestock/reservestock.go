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

// reserve reserves for one order, which may have its row already.
func (f *Function) reserve(ctx context.Context, tx *sql.Tx, e event.Event, order events.OrderCreated) ([]event.Event, error) {
	q, now := inventory.New(tx), f.Now()
	opened, err := q.OpenReservation(ctx, inventory.OpenReservationParams{OrderID: order.OrderID, CreatedAt: now, UpdatedAt: now})
	if err != nil {
		return nil, fmt.Errorf("open the reservation of order %s: %w", order.OrderID, err)
	}
	if opened == 0 {
		return nil, nil
	}
	emitted, err := reserve(ctx, q, []delivered{{Event: e, Data: order}}, []int{0}, now)
	if err != nil {
		return nil, err
	}
	return emitted[0], nil
}

// delivered is an order.created.
type delivered = instance.Delivered[events.OrderCreated]

// reserveAll takes the orders' rows in reservations first: releasing does too, so that whoever comes second sees what the
// first has done. An order whose row is there already was reserved, rejected or released before: nothing to do.
func (f *Function) reserveAll(ctx context.Context, tx *sql.Tx, group []delivered) ([][]event.Event, error) {
	q, now := inventory.New(tx), f.Now()
	mine, err := open(ctx, q, group, now)
	if err != nil {
		return nil, err
	}
	return reserve(ctx, q, group, mine, now)
}

// reserve takes the rows of all SKUs of some orders of a group in their order, decides about one order after the other
// under the locks, and writes once.
func reserve(ctx context.Context, q *inventory.Queries, group []delivered, mine []int, now time.Time) ([][]event.Event, error) {
	emitted := make([][]event.Event, len(group))
	if len(mine) == 0 {
		return emitted, nil
	}
	wanted := make([][]events.Quantity, len(group))
	union := map[string]bool{}
	for _, n := range mine {
		wanted[n] = sum(group[n].Data.Items)
		for _, w := range wanted[n] {
			union[w.SKU] = true
		}
	}
	d, err := lock(ctx, q, slices.Sorted(maps.Keys(union)), now)
	if err != nil {
		return nil, err
	}
	for _, n := range mine {
		told, err := d.decide(group[n], wanted[n])
		if err != nil {
			return nil, err
		}
		emitted[n] = []event.Event{told}
	}
	return emitted, d.write(ctx, q)
}

// open makes the rows of the orders in reservations, and returns the indices of those orders that had none. An order that
// is there twice is opened once. That a single order has none is taken for granted: its transaction fails if it has, and
// the order is handled alone.
func open(ctx context.Context, q *inventory.Queries, group []delivered, now time.Time) ([]int, error) {
	first := make(map[string]int, len(group))
	for n, d := range group {
		if _, again := first[d.Data.OrderID]; !again {
			first[d.Data.OrderID] = n
		}
	}
	if len(group) > 1 {
		known, err := q.LockReservations(ctx, slices.Sorted(maps.Keys(first)))
		if err != nil {
			return nil, fmt.Errorf("look for the reservations of %d orders: %w", len(first), err)
		}
		for _, row := range known {
			delete(first, row.OrderID)
		}
	}
	rows := make([]inventory.InsertReservationParams, 0, len(first))
	for _, id := range slices.Sorted(maps.Keys(first)) {
		rows = append(rows, inventory.InsertReservationParams{OrderID: id, CreatedAt: now, UpdatedAt: now})
	}
	if err := q.InsertReservations(schema.Later(ctx), rows); err != nil {
		return nil, fmt.Errorf("open the reservations of %d orders: %w", len(rows), err)
	}
	return slices.Sorted(maps.Values(first)), nil
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

// judge decides on an order by the free units: all that it wants, or nothing.
func judge(orderID string, wanted []events.Quantity, stock levels, now time.Time) (events.Data, inventory.ReservationsStatus) {
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
func short(wanted []events.Quantity, stock levels) (shortages []events.Shortage, unknown bool) {
	for _, w := range wanted {
		var available int64
		level, known := stock[w.SKU]
		if known {
			available = level.AvailableQty
		}
		if available < w.Quantity {
			shortages = append(shortages, events.Shortage{SKU: w.SKU, Requested: w.Quantity, Available: available})
			unknown = unknown || !known
		}
	}
	return shortages, unknown
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
