// Package saga is the state machine of an order. What goes in is the status that an order shall have; what comes out
// is the fact of its change, or nothing when the order's status does not allow it.
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

// ErrUnknownOrder means that there is no order with the id.
var ErrUnknownOrder = errors.New("there is no such order")

// next lists where an order may go from each status. FAILED and CANCELED are final.
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
	// Reason is kept as the reason of a failure; empty for any other change.
	Reason string
	At     time.Time
	// Cause is what the fact continues; without a correlation id it continues the order's own flow.
	Cause events.Cause
	// Fact is the data of the event that tells of the change, made from the order as it was before.
	Fact func(before Order) events.Data
}

// Applied is what became of a change: the order as it was before, and the fact of the change, or none.
type Applied struct {
	Before Order
	Facts  []event.Event
}

// Apply locks the rows of orders, changes their status and returns what became of each change, in their order. There is no
// fact when the status does not allow a change: the order has moved on, or this is the second of two about it. The error is
// ErrUnknownOrder when one of the orders does not exist.
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
		to := outcome{c.To, c.Reason, c.At}
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

// outcome is what the changes that one statement makes have in common.
type outcome struct {
	status orders.OrdersStatus
	reason string
	at     time.Time
}

func (o outcome) failureReason() *string {
	if o.reason == "" {
		return nil
	}
	return &o.reason
}

// fact makes the event that tells of the change of an order.
func (c Change) fact(before Order) (event.Event, error) {
	if c.Cause.CorrelationID == "" {
		c.Cause.CorrelationID = before.CorrelationID
	}
	return events.New(c.Fact(before), before.Version+1, c.At, c.Cause)
}

func allowed(from, to orders.OrdersStatus) bool {
	return slices.Contains(next[from], to)
}
