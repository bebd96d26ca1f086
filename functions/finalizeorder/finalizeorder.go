// Package finalizeorder confirms or fails orders. Consumes inventory.reserved, inventory.rejected and payment.declined; emits
// order.confirmed or order.failed.
package finalizeorder

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Function confirms or fails orders. It ignores events about an order that is no longer pending; release-stock returns the
// stock that was reserved for it. An order that comes alone and was accepted by this process is not read first.
type Function struct{ base.Base }

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{base.Base{Name: "finalize-order", Schema: schema.Orders}}
	base.ReactAll(&f.Base, f.confirm)
	base.ReactAll(&f.Base, f.fail)
	base.ReactAll(&f.Base, f.decline)
	return f
}

func (f *Function) confirm(ctx context.Context, tx *transaction.Tx, facts []base.Fact[events.InventoryReserved]) ([][]event.Event, error) {
	now := f.Now()
	return end(ctx, tx, f.Recent, facts, func(reserved base.Fact[events.InventoryReserved]) saga.Change {
		return saga.Change{
			OrderID: reserved.Data.OrderID, To: orders.OrdersStatusCONFIRMED, At: now, Cause: events.CauseOf(reserved.Event),
			Fact: func(o saga.Order) events.Data {
				return events.OrderConfirmed{OrderID: o.ID, CustomerEmail: o.CustomerEmail, TotalAmount: o.TotalAmount, CreatedAt: now}
			},
		}
	})
}

func (f *Function) fail(ctx context.Context, tx *transaction.Tx, facts []base.Fact[events.InventoryRejected]) ([][]event.Event, error) {
	now := f.Now()
	return end(ctx, tx, f.Recent, facts, func(rejected base.Fact[events.InventoryRejected]) saga.Change {
		return failure(rejected.Event, now, rejected.Data.Reason, rejected.Data.Shortages)
	})
}

func (f *Function) decline(ctx context.Context, tx *transaction.Tx, facts []base.Fact[events.PaymentDeclined]) ([][]event.Event, error) {
	now := f.Now()
	return end(ctx, tx, f.Recent, facts, func(declined base.Fact[events.PaymentDeclined]) saga.Change {
		return failure(declined.Event, now, declined.Data.Reason, nil)
	})
}

// failure is the change that fails the order of e.
func failure(e event.Event, at time.Time, reason string, shortages []events.Shortage) saga.Change {
	return saga.Change{
		OrderID: e.Subject(), To: orders.OrdersStatusFAILED, Reason: reason, At: at, Cause: events.CauseOf(e),
		Fact: func(o saga.Order) events.Data {
			return events.OrderFailed{OrderID: o.ID, CustomerEmail: o.CustomerEmail, Reason: reason, Shortages: shortages, CreatedAt: at}
		},
	}
}

// end applies the change of each fact. All get the same time, so that one statement can make them.
func end[T events.Data](ctx context.Context, tx *transaction.Tx, recent *saga.Recent, facts []base.Fact[T], change func(base.Fact[T]) saga.Change) ([][]event.Event, error) {
	changes := make([]saga.Change, len(facts))
	for n, fact := range facts {
		changes[n] = change(fact)
	}
	applied, err := recent.Apply(ctx, tx, changes...)
	if errors.Is(err, saga.ErrUnknownOrder) {
		// The order was committed before its order.created was published, so it will not appear later.
		return nil, delivery.Poison(err)
	}
	emitted := make([][]event.Event, len(applied))
	for n, a := range applied {
		emitted[n] = a.Facts
	}
	return emitted, err
}
