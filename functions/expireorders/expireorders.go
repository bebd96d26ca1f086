// Package expireorders fails orders that are still pending after the saga timeout. Consumes the ticks of a PingSource; emits
// order.failed with reason timeout.
package expireorders

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Function fails late orders.
type Function struct {
	base.Base
	// Timeout is how long an order may be pending; SAGA_TIMEOUT sets it. It must be longer than all retries of an event.
	Timeout time.Duration
}

// New returns the function as it is deployed.
func New() *Function {
	f := &Function{Base: base.Base{Name: "expire-orders", Schema: schema.Orders}}
	f.On(base.TickType, f.tick)
	return f
}

// Start reads SAGA_TIMEOUT, a Go duration, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) (err error) {
	if f.Timeout == 0 {
		if f.Timeout, err = base.Duration(config, "SAGA_TIMEOUT", 15*time.Minute); err != nil {
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

// tick fails the orders that are late by now, each in its own transaction. Ticks may overlap: the second one finds the
// status changed and skips the order.
func (f *Function) tick(ctx context.Context, _ event.Event) (string, error) {
	expired, err := f.expire(ctx)
	if expired == 0 {
		return "", err // on nearly every tick: not worth a log line
	}
	return fmt.Sprintf("%d orders expired", expired), err
}

func (f *Function) expire(ctx context.Context) (expired int, err error) {
	before := oldestID(f.Now().Add(-f.Timeout))
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

// oldestID returns the lowest UUIDv7 of time t: order ids sort by time (RFC 9562, 5.7).
func oldestID(t time.Time) string {
	var id uuid.UUID
	milliseconds := uint64(t.UnixMilli())
	for i := range 6 {
		id[i] = byte(milliseconds >> (8 * (5 - i)))
	}
	id[6], id[8] = 0x70, 0x80
	return id.String()
}
