// Package reservestock reserves stock for orders. Consumes order.created, or payment.authorized where orders are paid first;
// emits inventory.reserved or inventory.rejected.
package reservestock

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Function reserves stock for orders.
type Function struct {
	base.Base

	careful atomic.Int64 // until when reserve assumes nothing, in nanoseconds
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{Base: base.Base{Name: "reserve-stock", Schema: schema.Inventory}}
	on(f, func(d events.OrderCreated) []events.Item { return d.Items })
	on(f, func(d events.PaymentAuthorized) []events.Item { return d.Items })
	return f
}

// order is an order to reserve stock for, and the event that asks for it.
type order struct {
	id    string
	items []events.Item
	event event.Event
}

// on registers the reservation for facts of type T; read returns the lines of the order.
func on[T events.Data](f *Function, read func(T) []events.Item) {
	base.ReactAll(&f.Base, func(ctx context.Context, tx *transaction.Tx, facts []base.Fact[T]) ([][]event.Event, error) {
		all := make([]order, len(facts))
		for n, fact := range facts {
			all[n] = order{fact.Data.Subject(), read(fact.Data), fact.Event}
		}
		return f.reserve(ctx, tx, all)
	})
}

// reserve decides about orders. One that comes alone gets its units without a look first (see take), while none is rejected.
func (f *Function) reserve(ctx context.Context, tx *transaction.Tx, all []order) ([][]event.Event, error) {
	now := f.Now()
	if len(all) == 1 && tx.Shared() && now.UnixNano() > f.careful.Load() {
		fact, err := take(ctx, tx, all[0], now)
		return [][]event.Event{{fact}}, err
	}
	return f.reserveLocked(ctx, tx, all, now)
}

// carefulFor is how long after a rejection every order is decided under the locks.
const carefulFor = time.Second

// reserveLocked first locks the orders' rows in reservations, as release-stock does, so that the second of the two sees the first.
// An order with an earlier row was reserved, rejected or released before, so it is skipped. reserveLocked then locks the rows of
// all SKUs in sorted order, decides about each order under the locks, and writes once.
func (f *Function) reserveLocked(ctx context.Context, tx *transaction.Tx, all []order, now time.Time) ([][]event.Event, error) {
	wanted := make([][]events.Quantity, len(all))
	skus := map[string]bool{}
	for n, order := range all {
		wanted[n] = sum(order.items)
		for _, w := range wanted[n] {
			skus[w.SKU] = true
		}
	}
	fresh, d, err := lock(ctx, tx, idsOf(all), slices.Sorted(maps.Keys(skus)), now)
	if err != nil {
		return nil, err
	}
	emitted := make([][]event.Event, len(all))
	for n, order := range all {
		if !fresh[order.id] {
			continue
		}
		delete(fresh, order.id) // of two events about one order only the first counts
		fact, err := d.decide(order, wanted[n])
		if err != nil {
			return nil, err
		}
		emitted[n] = []event.Event{fact}
	}
	if len(d.rejected) > 0 {
		f.careful.Store(now.Add(carefulFor).UnixNano())
	}
	return emitted, d.write(ctx, tx)
}

// idsOf returns the ids of orders, sorted, without duplicates.
func idsOf(all []order) []string {
	ids := make([]string, len(all))
	for n, order := range all {
		ids[n] = order.id
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// sum adds up the lines of each SKU, sorted by SKU.
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

// judge decides about an order by the available units: it gets all units that it wants, or none.
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

// short lists every SKU with too few available units, and returns whether one of them is unknown.
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

// logRows returns the rows of the log for the effect of the event on each SKU.
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
