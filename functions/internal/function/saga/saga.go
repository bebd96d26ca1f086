// Package saga is the state machine of an order. It changes the status where the state machine allows it, and returns the
// fact of each change.
package saga

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/transaction"
)

// ErrUnknownOrder means that no order has the id.
var ErrUnknownOrder = errors.New("there is no such order")

// next lists the statuses that may follow each status. FAILED and CANCELED are final.
var next = map[orders.OrdersStatus][]orders.OrdersStatus{
	orders.OrdersStatusPENDING:   {orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED},
	orders.OrdersStatusCONFIRMED: {orders.OrdersStatusCANCELED},
}

// Order is an order as it was under its lock, before a change.
type Order = orders.LockOrdersRow

// Change is a change of an order's status.
type Change struct {
	OrderID string
	To      orders.OrdersStatus
	// Reason is stored as the reason of a failure; empty for other changes.
	Reason string
	At     time.Time
	// Cause is the cause of the fact; without a correlation id the fact belongs to the order's own flow.
	Cause events.Cause
	// Fact returns the data of the fact, made from the order before the change.
	Fact func(before Order) events.Data
}

// Applied is the result of a change: the order before it, and the fact, if any.
type Applied struct {
	Before Order
	Facts  []event.Event
}

// Apply locks the rows of orders, changes their status and returns the result of each change, in order. If the status does
// not allow a change, its result has no fact: the order has moved on, or an earlier change of the same call came first. It
// returns ErrUnknownOrder if one of the orders does not exist.
func Apply(ctx context.Context, tx *transaction.Tx, changes ...Change) ([]Applied, error) {
	ids := make([]string, len(changes))
	for n, c := range changes {
		ids[n] = c.OrderID
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	rows, err := orders.New(tx).LockOrders(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("lock %d orders: %w", len(ids), err)
	}
	locked := make(map[string]Order, len(rows))
	for _, row := range rows {
		locked[row.ID] = row
	}
	applied, moved := make([]Applied, len(changes)), map[outcome][]string{}
	for n, c := range changes {
		before, known := locked[c.OrderID]
		if !known {
			return nil, fmt.Errorf("order %s: %w", c.OrderID, ErrUnknownOrder)
		}
		applied[n].Before = before
		if !allowed(before.Status, c.To) {
			continue
		}
		e, err := c.fact(before)
		if err != nil {
			return nil, err
		}
		applied[n].Facts = []event.Event{e}
		to := c.outcome()
		moved[to] = append(moved[to], c.OrderID)
		after := before
		after.Status, after.Version = c.To, before.Version+1
		locked[c.OrderID] = after
	}
	q := orders.New(tx.Deferred())
	for to, ids := range moved {
		if err := q.SetStatuses(ctx, orders.SetStatusesParams{
			Status: to.status, FailureReason: to.failureReason(), UpdatedAt: to.at, Ids: ids,
		}); err != nil {
			return nil, fmt.Errorf("set %d orders to %s: %w", len(ids), to.status, err)
		}
	}
	return applied, nil
}

// outcome groups the changes that one statement makes.
type outcome struct {
	status orders.OrdersStatus
	reason string
	at     time.Time
}

func (c Change) outcome() outcome { return outcome{c.To, c.Reason, c.At} }

func (o outcome) failureReason() *string {
	if o.reason == "" {
		return nil
	}
	return &o.reason
}

// fact builds the event about the change of an order.
func (c Change) fact(before Order) (event.Event, error) {
	if c.Cause.CorrelationID == "" {
		c.Cause.CorrelationID = before.CorrelationID
	}
	return events.New(c.Fact(before), before.Version+1, c.At, c.Cause)
}

func allowed(from, to orders.OrdersStatus) bool {
	return slices.Contains(next[from], to)
}
