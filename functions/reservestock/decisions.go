package reservestock

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/transaction"
)

// levels has the stock of the SKUs that exist.
type levels map[string]*inventory.SetLevelParams

// decisions collects the changes of orders and of stock levels, which are read under the locks.
type decisions struct {
	levels             levels
	log                []inventory.InsertReservationLogParams
	reserved, rejected []string
	at                 time.Time
}

// lock locks the rows of some orders in reservations, and of some SKUs; both are sorted, so that transactions do not
// deadlock. It returns which orders had no row before, and the levels of the SKUs that exist.
func lock(ctx context.Context, tx *transaction.Tx, ids, skus []string, now time.Time) (fresh map[string]bool, d *decisions, err error) {
	opened := make([]inventory.OpenReservationParams, len(ids))
	for n, id := range ids {
		opened[n] = inventory.OpenReservationParams{OrderID: id, CreatedAt: now, UpdatedAt: now}
	}
	if err := inventory.New(tx.Deferred()).OpenReservations(ctx, opened); err != nil {
		return nil, nil, fmt.Errorf("open the reservations of %d orders: %w", len(ids), err)
	}
	reservations, stocks, err := inventory.New(tx).LockReservationsAndStocks(ctx, ids, skus)
	if err != nil {
		return nil, nil, fmt.Errorf("lock the reservations of %d orders and the stock of %d SKUs: %w", len(ids), len(skus), err)
	}
	fresh = make(map[string]bool, len(ids))
	for _, row := range reservations {
		if row.Status == inventory.ReservationsStatusPENDING { // no transaction commits this status
			fresh[row.OrderID] = true
		}
	}
	d = &decisions{levels: make(levels, len(stocks)), at: now}
	for _, row := range stocks {
		d.levels[row.Sku] = &inventory.SetLevelParams{Sku: row.Sku, AvailableQty: row.AvailableQty, ReservedQty: row.ReservedQty, Version: row.Version}
	}
	return fresh, d, nil
}

// decide takes all units that an order wants from the levels, or none, and returns the fact about it.
func (d *decisions) decide(o order, wanted []events.Quantity) (event.Event, error) {
	fact, status := judge(o.id, wanted, d.levels, d.at)
	if status == inventory.ReservationsStatusRESERVED {
		d.reserved = append(d.reserved, o.id)
		for _, w := range wanted {
			l := d.levels[w.SKU]
			l.AvailableQty -= w.Quantity
			l.ReservedQty += w.Quantity
			l.Version++
			l.UpdatedAt = d.at
		}
	} else {
		d.rejected = append(d.rejected, o.id)
	}
	d.log = append(d.log, logRows(o.event, o.id, status, wanted, d.at)...)
	return events.New(fact, 1, d.at, events.CauseOf(o.event))
}

// write stores the decisions, at the latest with the commit.
func (d *decisions) write(ctx context.Context, tx *transaction.Tx) error {
	q := inventory.New(tx.Deferred())
	if err := q.InsertReservationLogs(ctx, d.log); err != nil {
		return fmt.Errorf("log %d reservations: %w", len(d.log), err)
	}
	for status, ids := range map[inventory.ReservationsStatus][]string{
		inventory.ReservationsStatusRESERVED: d.reserved, inventory.ReservationsStatusREJECTED: d.rejected,
	} {
		if len(ids) == 0 {
			continue
		}
		if err := q.SetFirstReservations(ctx, inventory.SetFirstReservationsParams{Status: status, UpdatedAt: d.at, OrderIds: ids}); err != nil {
			return fmt.Errorf("set the reservations of %d orders to %s: %w", len(ids), status, err)
		}
	}
	changed := make([]inventory.SetLevelParams, 0, len(d.levels))
	for _, sku := range slices.Sorted(maps.Keys(d.levels)) {
		if l := d.levels[sku]; l.UpdatedAt.Equal(d.at) {
			changed = append(changed, *l)
		}
	}
	if err := q.SetLevels(ctx, changed); err != nil {
		return fmt.Errorf("write the levels of %d SKUs: %w", len(changed), err)
	}
	return nil
}
