// Package releasestock returns reserved stock. Consumes order.canceled, order.failed and the ticks of a PingSource; emits
// inventory.released.
package releasestock

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Function returns reserved stock.
type Function struct {
	base.Base
	// Retention is how long the log of an order that holds nothing is kept; RESERVATION_LOG_RETENTION sets it. It must be
	// longer than the topic or the dead letters can deliver an event again.
	Retention time.Duration

	purged atomic.Pointer[string] // the order id that the current walk through the log has reached
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{Base: base.Base{Name: "release-stock", Schema: schema.Inventory}}
	base.React(&f.Base, f.canceled)
	base.React(&f.Base, f.failed)
	f.On(base.TickType, f.tick)
	return f
}

// Start reads RESERVATION_LOG_RETENTION, a Go duration, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) (err error) {
	if f.Retention == 0 {
		if f.Retention, err = base.Duration(config, "RESERVATION_LOG_RETENTION", 40*24*time.Hour); err != nil {
			return err
		}
	}
	return f.Base.Start(ctx, config)
}

func (f *Function) canceled(ctx context.Context, tx *transaction.Tx, order base.Fact[events.OrderCanceled]) ([]event.Event, error) {
	return f.release(ctx, tx, order.Event, order.Data.OrderID, events.ReasonCanceled)
}

func (f *Function) failed(ctx context.Context, tx *transaction.Tx, order base.Fact[events.OrderFailed]) ([]event.Event, error) {
	return f.release(ctx, tx, order.Event, order.Data.OrderID, events.ReasonFailed)
}

// tick purges the log of orders that have held nothing for longer than Retention.
func (f *Function) tick(ctx context.Context, _ event.Event) (string, error) {
	count, err := f.purge(ctx)
	return fmt.Sprintf("purged %d reservation logs", count), err
}

// release first locks the order's row in reservations, as reserve-stock does. Without a row, the release came first: it
// inserts the row as RELEASED, so that a later order.created reserves nothing.
func (f *Function) release(ctx context.Context, tx *transaction.Tx, e event.Event, orderID, reason string) ([]event.Event, error) {
	q, now := inventory.New(tx), f.Now()
	opened, err := q.OpenReservation(ctx, inventory.OpenReservationParams{OrderID: orderID, CreatedAt: now, UpdatedAt: now})
	if err != nil {
		return nil, fmt.Errorf("open the reservation of order %s: %w", orderID, err)
	}
	reservation, err := q.LockReservation(ctx, orderID)
	if err != nil {
		return nil, fmt.Errorf("lock the reservation of order %s: %w", orderID, err)
	}
	if opened == 0 && reservation.Status != inventory.ReservationsStatusRESERVED {
		return nil, nil // rejected or released before: it holds nothing
	}
	var held []events.Quantity
	version := reservation.Version
	if reservation.Status == inventory.ReservationsStatusRESERVED {
		if held, err = f.giveBack(ctx, q, e, orderID, now); err != nil {
			return nil, err
		}
		version++
	}
	if err := q.SetReservation(ctx, inventory.SetReservationParams{
		OrderID: orderID, Status: inventory.ReservationsStatusRELEASED, Version: version, UpdatedAt: now,
	}); err != nil {
		return nil, fmt.Errorf("set the reservation of order %s to RELEASED: %w", orderID, err)
	}
	if len(held) == 0 {
		return nil, nil
	}
	emitted, err := events.New(events.InventoryReleased{OrderID: orderID, Releases: held, Reason: reason, CreatedAt: now},
		version, now, events.CauseOf(e))
	return []event.Event{emitted}, err
}

// giveBack returns exactly the units that the log holds for the order, in order of SKU.
func (f *Function) giveBack(ctx context.Context, q *inventory.Queries, e event.Event, orderID string, now time.Time) ([]events.Quantity, error) {
	rows, err := q.ListHeld(ctx, orderID)
	if err != nil {
		return nil, fmt.Errorf("read what order %s holds: %w", orderID, err)
	}
	held := make([]events.Quantity, len(rows))
	log := make([]inventory.InsertReservationLogParams, len(rows))
	for i, row := range rows {
		held[i] = events.Quantity{SKU: row.Sku, Quantity: row.Quantity}
		log[i] = inventory.InsertReservationLogParams{
			Source: e.Source(), EventID: e.ID(), Sku: row.Sku, OrderID: orderID,
			DeltaReserved: -row.Quantity, Status: inventory.ReservationLogStatusRELEASED, CreatedAt: now,
		}
		returned, err := q.ReturnStock(ctx, inventory.ReturnStockParams{Sku: row.Sku, Quantity: row.Quantity, UpdatedAt: now})
		if err != nil {
			return nil, fmt.Errorf("return %d of %s: %w", row.Quantity, row.Sku, err)
		}
		if returned != 1 {
			return nil, fmt.Errorf("return %d of %s: fewer units are reserved: compare inventory with reservation_log", row.Quantity, row.Sku)
		}
	}
	if err := q.InsertReservationLogs(ctx, log); err != nil {
		return nil, fmt.Errorf("log the release of order %s: %w", orderID, err)
	}
	return held, nil
}
