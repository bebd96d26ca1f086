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
)

// delivered is an order.created.
type delivered = instance.Delivered[events.OrderCreated]

// reserveAll does what reserve does, for several orders one after the other, with one statement for all of them where
// reserve has one for each: it takes the orders' rows, then the rows of all their SKUs, decides, and writes once.
func (f *Function) reserveAll(ctx context.Context, tx *sql.Tx, group []delivered) ([][]event.Event, error) {
	q, now := inventory.New(tx), f.Now()
	mine, err := openAll(ctx, q, group, now)
	if err != nil || len(mine) == 0 {
		return make([][]event.Event, len(group)), err
	}
	wanted := make([][]events.Quantity, len(group))
	union := map[string]events.Quantity{}
	for _, n := range mine {
		wanted[n] = sum(group[n].Data.Items)
		for _, w := range wanted[n] {
			union[w.SKU] = w
		}
	}
	levels, err := lockLevels(ctx, q, slices.Sorted(maps.Keys(union)))
	if err != nil {
		return nil, err
	}
	d := decisions{log: make([]inventory.InsertReservationLogParams, 0, len(group)), levels: levels, at: now}
	emitted := make([][]event.Event, len(group))
	for _, n := range mine {
		told, err := d.decide(group[n], wanted[n])
		if err != nil {
			return nil, err
		}
		emitted[n] = []event.Event{told}
	}
	return emitted, d.write(ctx, q)
}

// openAll makes the rows of the orders in reservations, and returns the indices of those orders that had none: the
// others were reserved, rejected or released before. An order that is there twice is opened once.
func openAll(ctx context.Context, q *inventory.Queries, group []delivered, now time.Time) ([]int, error) {
	first := make(map[string]int, len(group))
	for n, d := range group {
		if _, again := first[d.Data.OrderID]; !again {
			first[d.Data.OrderID] = n
		}
	}
	known, err := q.LockReservations(ctx, slices.Sorted(maps.Keys(first)))
	if err != nil {
		return nil, fmt.Errorf("look for the reservations of %d orders: %w", len(first), err)
	}
	for _, row := range known {
		delete(first, row.OrderID)
	}
	rows := make([]inventory.InsertReservationParams, 0, len(first))
	for _, id := range slices.Sorted(maps.Keys(first)) {
		rows = append(rows, inventory.InsertReservationParams{OrderID: id, CreatedAt: now, UpdatedAt: now})
	}
	if err := q.InsertReservations(ctx, rows); err != nil {
		return nil, fmt.Errorf("open the reservations of %d orders: %w", len(rows), err)
	}
	return slices.Sorted(maps.Values(first)), nil
}

// lockLevels returns the levels of those of the SKUs that there are, and keeps their rows.
func lockLevels(ctx context.Context, q *inventory.Queries, skus []string) (map[string]*inventory.SetLevelParams, error) {
	rows, err := q.LockStocks(ctx, skus)
	if err != nil {
		return nil, fmt.Errorf("lock the stock of %d SKUs: %w", len(skus), err)
	}
	levels := make(map[string]*inventory.SetLevelParams, len(rows))
	for _, row := range rows {
		levels[row.Sku] = &inventory.SetLevelParams{Sku: row.Sku, AvailableQty: row.AvailableQty, ReservedQty: row.ReservedQty, Version: row.Version}
	}
	return levels, nil
}

// decisions gathers what becomes of the orders of a group and of the levels, which are those under the locks.
type decisions struct {
	levels             map[string]*inventory.SetLevelParams
	log                []inventory.InsertReservationLogParams
	reserved, rejected []string
	at                 time.Time
}

// decide takes all that an order wants from the levels, or nothing, and returns the fact of it.
func (d *decisions) decide(order delivered, wanted []events.Quantity) (event.Event, error) {
	stock := make(map[string]int64, len(wanted))
	for _, w := range wanted {
		if l, known := d.levels[w.SKU]; known {
			stock[w.SKU] = l.AvailableQty
		}
	}
	fact, status := judge(order.Data.OrderID, wanted, stock, d.at)
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

// write stores what was decided.
func (d *decisions) write(ctx context.Context, q *inventory.Queries) error {
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
