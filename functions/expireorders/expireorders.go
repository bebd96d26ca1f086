// Package expireorders fails orders that are still pending after the saga timeout, and forgets who placed orders that ended
// long ago. Consumes the ticks of a PingSource; emits order.failed with reason timeout.
package expireorders

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Function fails late orders, and forgets the customers of old ones.
type Function struct {
	base.Base
	// Timeout is how long an order may be pending; SAGA_TIMEOUT sets it. It must be longer than all retries of an event.
	Timeout time.Duration
	// Retention is how long after its last change an ended order says who its customer is; RETAIN_ORDERS sets it, and zero
	// keeps it for good.
	Retention time.Duration

	forgotten atomic.Pointer[string] // the order id that the current walk through the old orders has reached
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{Base: base.Base{Name: "expire-orders", Schema: schema.Orders}}
	f.On(base.TickType, f.tick)
	return f
}

// Start reads SAGA_TIMEOUT and RETAIN_ORDERS, which are Go durations, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) (err error) {
	if f.Timeout == 0 {
		if f.Timeout, err = base.Duration(config, "SAGA_TIMEOUT", 15*time.Minute); err != nil {
			return err
		}
	}
	if f.Retention == 0 {
		if f.Retention, err = base.Duration(config, "RETAIN_ORDERS", 0); err != nil {
			return err
		}
	}
	return f.Base.Start(ctx, config)
}

// page bounds the late orders of one query, maxPages the queries of one tick.
const (
	page     = 100
	maxPages = 100
)

// tick fails the orders that are late by now, each in its own transaction, and forgets the customers of those that are old.
// Ticks may overlap: the second one finds an order changed and skips it.
func (f *Function) tick(ctx context.Context, _ event.Event) (string, error) {
	expired, err := f.expire(ctx)
	forgotten, forgetErr := f.forget(ctx)
	err = errors.Join(err, forgetErr)
	if expired == 0 && forgotten == 0 {
		return "", err // on nearly every tick: not worth a log line
	}
	return fmt.Sprintf("%d orders expired, the customers of %d forgotten", expired, forgotten), err
}

func (f *Function) expire(ctx context.Context) (expired int, err error) {
	before := events.FirstOrderID(f.Now().Add(-f.Timeout))
	for range maxPages {
		late, err := orders.New(f.DB).ListPendingBefore(ctx, orders.ListPendingBeforeParams{ID: before, Limit: page})
		if err != nil {
			return expired, fmt.Errorf("list late orders: %w", err)
		}
		for _, id := range late {
			failed, err := f.fail(ctx, id)
			if err != nil {
				return expired, fmt.Errorf("expire order %s: %w", id, err)
			}
			if failed {
				expired++
			}
		}
		if len(late) < page {
			break
		}
	}
	return expired, nil
}

// fail ends one order. It returns false if the order has ended since the query.
func (f *Function) fail(ctx context.Context, id string) (failed bool, err error) {
	err = f.Transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		now := f.Now()
		applied, err := saga.Apply(ctx, tx, saga.Change{
			OrderID: id, To: orders.OrdersStatusFAILED, Reason: events.ReasonTimeout, At: now,
			Fact: func(o saga.Order) events.Data {
				return events.OrderFailed{OrderID: o.ID, CustomerEmail: o.CustomerEmail, Reason: events.ReasonTimeout, CreatedAt: now}
			},
		})
		if err != nil {
			return nil, err
		}
		failed = len(applied[0].Facts) > 0
		return applied[0].Facts, nil
	})
	return failed, err
}
