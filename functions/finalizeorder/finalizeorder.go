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

func (f *Function) confirm(ctx context.Context, tx *sql.Tx, e event.Event, data events.InventoryReserved) ([]event.Event, error) {
	return f.end(ctx, tx, e, saga.Change{OrderID: data.OrderID, To: orders.OrdersStatusCONFIRMED},
		func(o orders.LockOrderRow, at time.Time) events.Data {
			return events.OrderConfirmed{OrderID: o.ID, CustomerEmail: o.CustomerEmail, TotalAmount: o.TotalAmount, CreatedAt: at}
		})
}

func (f *Function) fail(ctx context.Context, tx *sql.Tx, e event.Event, data events.InventoryRejected) ([]event.Event, error) {
	return f.end(ctx, tx, e, saga.Change{OrderID: data.OrderID, To: orders.OrdersStatusFAILED, Reason: data.Reason},
		func(o orders.LockOrderRow, at time.Time) events.Data {
			return events.OrderFailed{OrderID: o.ID, CustomerEmail: o.CustomerEmail, Reason: data.Reason, Shortages: data.Shortages, CreatedAt: at}
		})
}

func (f *Function) end(ctx context.Context, tx *sql.Tx, e event.Event, change saga.Change, fact func(orders.LockOrderRow, time.Time) events.Data) ([]event.Event, error) {
	change.At = f.Now()
	change.Cause = events.CauseOf(e)
	change.Fact = func(o orders.LockOrderRow) events.Data { return fact(o, change.At) }
	_, facts, err := saga.Apply(ctx, tx, change)
	if errors.Is(err, saga.ErrUnknownOrder) {
		// The order was committed before its order.created left, so it will not turn up later.
		return nil, delivery.Poison(err)
	}
	return facts, err
}
