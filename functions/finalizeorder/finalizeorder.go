// Package finalizeorder ends orders. Consumes inventory.reserved and inventory.rejected; emits order.confirmed or
// order.failed.
package finalizeorder

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/instance"
	"example.com/orders/functions/internal/saga"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// Function ends orders.
type Function struct{ instance.Instance }

// New returns the function as it is deployed.
func New() *Function {
	return &Function{instance.Instance{Name: "finalize-order", Schema: schema.Orders}}
}

// Handle ends a pending order. News for an order that is not pending any more changes nothing: what was reserved for
// it comes back by release-stock.
func (f *Function) Handle(ctx context.Context, e event.Event) error {
	switch e.Type() {
	case events.InventoryReservedType:
		return instance.React(ctx, &f.Instance, e, f.confirm)
	case events.InventoryRejectedType:
		return instance.React(ctx, &f.Instance, e, f.fail)
	default:
		return f.Refuse(ctx, e)
	}
}

// HandleBatch is Handle for several events of one type, in one transaction; delivery.ErrAlone answers when it failed.
func (f *Function) HandleBatch(ctx context.Context, es []event.Event) []error {
	switch es[0].Type() {
	case events.InventoryReservedType:
		return instance.ReactGroup(ctx, &f.Instance, es, all(f, confirmation))
	case events.InventoryRejectedType:
		return instance.ReactGroup(ctx, &f.Instance, es, all(f, failure))
	default:
		return f.RefuseAll(ctx, es)
	}
}

func (f *Function) confirm(ctx context.Context, tx *sql.Tx, e event.Event, data events.InventoryReserved) ([]event.Event, error) {
	return end(ctx, tx, confirmation(e, data, f.Now()))
}

func (f *Function) fail(ctx context.Context, tx *sql.Tx, e event.Event, data events.InventoryRejected) ([]event.Event, error) {
	return end(ctx, tx, failure(e, data, f.Now()))
}

func confirmation(e event.Event, data events.InventoryReserved, now time.Time) saga.Change {
	return saga.Change{
		OrderID: data.OrderID, To: orders.OrdersStatusCONFIRMED, At: now, Cause: events.CauseOf(e),
		Fact: func(o orders.LockOrderRow) events.Data {
			return events.OrderConfirmed{OrderID: o.ID, CustomerEmail: o.CustomerEmail, TotalAmount: o.TotalAmount, CreatedAt: now}
		},
	}
}

func failure(e event.Event, data events.InventoryRejected, now time.Time) saga.Change {
	return saga.Change{
		OrderID: data.OrderID, To: orders.OrdersStatusFAILED, Reason: data.Reason, At: now, Cause: events.CauseOf(e),
		Fact: func(o orders.LockOrderRow) events.Data {
			return events.OrderFailed{OrderID: o.ID, CustomerEmail: o.CustomerEmail, Reason: data.Reason, Shortages: data.Shortages, CreatedAt: now}
		},
	}
}

func end(ctx context.Context, tx *sql.Tx, change saga.Change) ([]event.Event, error) {
	_, facts, err := saga.Apply(ctx, tx, change)
	if errors.Is(err, saga.ErrUnknownOrder) {
		// The order was committed before its order.created left, so it will not turn up later.
		return nil, delivery.Poison(err)
	}
	return facts, err
}

// all makes the changes of a group's events at the same moment, so that one statement can make them.
func all[T events.Data](f *Function, change func(event.Event, T, time.Time) saga.Change) instance.GroupReaction[T] {
	return func(ctx context.Context, tx *sql.Tx, group []instance.Delivered[T]) ([][]event.Event, error) {
		now := f.Now()
		changes := make([]saga.Change, len(group))
		for n, d := range group {
			changes[n] = change(d.Event, d.Data, now)
		}
		return saga.ApplyAll(ctx, tx, changes)
	}
}
