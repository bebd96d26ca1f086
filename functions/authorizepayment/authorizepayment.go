// Package authorizepayment has the payment gateway hold the money for orders. Consumes order.created and the ticks of a
// PingSource; emits payment.authorized or payment.declined.
package authorizepayment

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

// Function authorizes payments. The transaction that records the event stores the request. The gateway is asked after its
// commit; a tick asks again about requests that got no answer.
type Function struct {
	base.Base
	payment.Cashier
	// Currency is the ISO 4217 code of the amounts of an order.created that names none, which is version 1; CURRENCY sets it.
	Currency string
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{Base: base.Base{Name: "authorize-payment", Schema: schema.Payments}}
	base.ReactThen(&f.Base, f.request)
	f.On(base.TickType, f.sweep)
	return f
}

// Start reads CURRENCY and the variables of the gateway, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) (err error) {
	if f.Currency == "" {
		if f.Currency, err = base.Currency(config); err != nil {
			return err
		}
	}
	if err := f.Cashier.Start(&f.Base, config); err != nil {
		return err
	}
	return f.Base.Start(ctx, config)
}

func (f *Function) request(ctx context.Context, tx *transaction.Tx, facts []base.Fact[events.OrderCreated]) ([]base.Effect, error) {
	return f.RequestAuthorizations(ctx, tx, f.Currency, facts)
}

func (f *Function) sweep(ctx context.Context, _ event.Event) (string, error) {
	return f.Sweep(ctx, payments.PaymentsStatusREQUESTED)
}
