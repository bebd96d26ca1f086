// Package refundpayment returns the money of orders that have ended without success. Consumes order.canceled, order.failed and
// the ticks of a PingSource; emits payment.refunded.
package refundpayment

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/payment"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Function refunds payments. The transaction that records the event stores the request. The gateway is asked after its
// commit; a tick asks again about requests that got no answer.
type Function struct {
	base.Base
	payment.Cashier
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{Base: base.Base{Name: "refund-payment", Schema: schema.Payments}}
	on[events.OrderCanceled](f, events.ReasonCanceled)
	on[events.OrderFailed](f, events.ReasonFailed)
	f.On(base.TickType, f.sweep)
	return f
}

// Start reads the variables of the gateway, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) error {
	if err := f.Cashier.Start(&f.Base, config); err != nil {
		return err
	}
	return f.Base.Start(ctx, config)
}

// on registers the refund for facts of type T, which end an order for the reason.
func on[T events.Data](f *Function, reason string) {
	base.ReactThen(&f.Base, func(ctx context.Context, tx *transaction.Tx, facts []base.Fact[T]) ([]base.Effect, error) {
		ends := make([]payment.End, len(facts))
		for n, fact := range facts {
			ends[n] = payment.End{OrderID: fact.Data.Subject(), Reason: reason, Cause: events.CauseOf(fact.Event)}
		}
		return f.RequestRefunds(ctx, tx, ends)
	})
}

func (f *Function) sweep(ctx context.Context, _ event.Event) (string, error) {
	return f.Sweep(ctx, payments.PaymentsStatusREFUNDREQUESTED)
}
