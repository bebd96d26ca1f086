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
	"example.com/orders/sql/schema"
)

// levels are the units of those SKUs that there are.
type levels map[string]*inventory.SetLevelParams

// decisions gathers what becomes of orders and of the levels of stock, which are those under the locks.
type decisions struct {
	levels             levels
	log                []inventory.InsertReservationLogParams
	reserved, rejected []string
	at                 time.Time
}

// lock reads the levels of those of the SKUs that there are, and keeps their rows.
func lock(ctx context.Context, q *inventory.Queries, skus []string, now time.Time) (*decisions, error) {
	rows, err := q.LockStocks(ctx, skus)
	if err != nil {
		return nil, fmt.Errorf("lock the stock of %d SKUs: %w", len(skus), err)
	}
	d := &decisions{levels: make(levels, len(rows)), at: now}
	for _, row := range rows {
		d.levels[row.Sku] = &inventory.SetLevelParams{Sku: row.Sku, AvailableQty: row.AvailableQty, ReservedQty: row.ReservedQty, Version: row.Version}
	}
	return d, nil
}

// decide takes all that an order wants from the levels, or nothing, and returns the fact of it.
func (d *decisions) decide(order delivered, wanted []events.Quantity) (event.Event, error) {
	fact, status := judge(order.Data.OrderID, wanted, d.levels, d.at)
	if status == inventory.ReservationsStatusRESERVED {
		d.reserved = append(d.reserved, order.Data.OrderID)
		for _, w := range wanted {
			l := d.levels[w.SKU]
			l.AvailableQty -= w.Quantity
			l.ReservedQty += w.Quantity
			l.Version++
			l.UpdatedAt = d.at
		}
	} else {
		d.rejected = append(d.rejected, order.Data.OrderID)
	}
	d.log = append(d.log, logRows(order.Event, order.Data.OrderID, status, wanted, d.at)...)
	return events.New(fact, 1, d.at, events.CauseOf(order.Event))
}

// write stores what was decided, at the latest with the commit.
func (d *decisions) write(ctx context.Context, q *inventory.Queries) error {
	ctx = schema.Later(ctx)
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
