// Package cancelorder cancels orders. Consumes the command order.cancel, as a CloudEvent or in-process from the orders API;
// emits order.canceled and answers order.cancel.accepted or order.cancel.refused.
package cancelorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/web/limit"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Function cancels orders.
type Function struct{ base.Base }

// New returns the function as it is deployed.
func New() *Function {
	return &Function{base.Base{Name: "cancel-order", Schema: schema.Orders}}
}

// Handle answers an order.cancel. If the order can no longer be canceled, it returns an answer, not an error: delivering the
// command again would not help.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	var answer *event.Event
	err := f.Observe(ctx, e, func() (outcome string, err error) {
		if e.Type() != events.OrderCancelType {
			return "", delivery.Poison(fmt.Errorf("type %q is not %s", e.Type(), events.OrderCancelType))
		}
		command, err := events.ParseCancelOrder(e.Data())
		if err != nil {
			return "", delivery.Poison(err)
		}
		canceled, err := f.Cancel(ctx, command.OrderID, events.CauseOf(e))
		answerType := events.OrderCancelAcceptedType
		switch {
		case errors.Is(err, ErrFailed):
			answerType = events.OrderCancelRefusedType
		case errors.Is(err, saga.ErrUnknownOrder):
			return "", delivery.Poison(err)
		case err != nil:
			return "", err
		}
		answer, err = reply(e, answerType, canceled.OrderAnswer)
		return answerType, err
	})
	return answer, err
}

// Authenticate returns the context of a request with its principal. Its error is a *rest.Problem: 429 above the rate limit.
func (f *Function) Authenticate(r *http.Request) (context.Context, error) {
	if err := f.Started(); err != nil {
		return nil, rest.Unavailable(err.Error())
	}
	ctx, err := f.Identity.Authenticate(r)
	if err != nil {
		return nil, err
	}
	return ctx, f.LimitRate(limit.With(ctx, r), true)
}

// ErrFailed means that the order has failed, so there is nothing to cancel.
var ErrFailed = errors.New("the order has failed")

// Canceled is the answer to a cancellation. With ErrFailed its status is FAILED.
type Canceled struct {
	events.OrderAnswer
	// CorrelationID is the flow of the cancellation: that of its cause, else that of the order.
	CorrelationID string
}

// Cancel cancels a pending or confirmed order and emits order.canceled. For an order that is canceled already it emits
// nothing. It returns saga.ErrUnknownOrder if the order does not exist or belongs to somebody else than the principal of ctx,
// and ErrFailed if it has failed.
func (f *Function) Cancel(ctx context.Context, orderID string, cause events.Cause) (Canceled, error) {
	if err := f.Started(); err != nil {
		return Canceled{}, err
	}
	if err := saga.CheckOwner(f.Identity.Admit(ctx), f.DB, orderID); err != nil {
		return Canceled{}, fmt.Errorf("cancel order: %w", err)
	}
	var before saga.Order
	err := f.Transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		now := f.Now()
		applied, err := saga.Apply(ctx, tx, saga.Change{
			OrderID: orderID, To: orders.OrdersStatusCANCELED, At: now, Cause: cause,
			Fact: func(o saga.Order) events.Data {
				return events.OrderCanceled{OrderID: o.ID, CustomerEmail: o.CustomerEmail, PreviousStatus: string(o.Status), CreatedAt: now}
			},
		})
		if err != nil {
			return nil, err
		}
		before = applied[0].Before
		return applied[0].Facts, nil
	})
	if err != nil {
		return Canceled{}, fmt.Errorf("cancel order: %w", err)
	}
	answer := Canceled{events.OrderAnswer{OrderID: orderID, Status: events.StatusCanceled}, cmp.Or(cause.CorrelationID, before.CorrelationID)}
	if before.Status == orders.OrdersStatusFAILED {
		answer.Status = events.StatusFailed
		return answer, ErrFailed
	}
	return answer, nil
}

// reply builds the answer to the command e. Its id derives from the command's, so a duplicate command gets the same id.
func reply(e event.Event, answerType string, data events.OrderAnswer) (*event.Event, error) {
	cause := events.CauseOf(e)
	answer := event.New()
	answer.SetID(e.ID() + "#answer")
	answer.SetSource(events.OrdersSource)
	answer.SetType(answerType)
	answer.SetSubject(data.OrderID)
	answer.SetExtension("correlationid", cause.CorrelationID)
	answer.SetExtension("causationid", cause.CausationID)
	err := answer.SetData(event.ApplicationJSON, data)
	return &answer, err
}
