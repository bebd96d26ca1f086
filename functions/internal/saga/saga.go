// Package saga is the state machine of an order. What goes in is the status that an order shall have; what comes out
// is the fact of its change, or nothing when the order's status does not allow it.
package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/sql/orders"
)

// ErrUnknownOrder means that there is no order with the id.
var ErrUnknownOrder = errors.New("there is no such order")

// next lists where an order may go from each status. FAILED and CANCELED are final.
var next = map[orders.OrdersStatus][]orders.OrdersStatus{
	orders.OrdersStatusPENDING:   {orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED},
	orders.OrdersStatusCONFIRMED: {orders.OrdersStatusCANCELED},
}

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
	Fact func(before orders.LockOrderRow) events.Data
}

// Apply locks the order's row, changes its status and returns the fact of it. It returns no fact when the status does
// not allow the change: the order has moved on, or this is its second telling. before is the order as it was.
func Apply(ctx context.Context, tx *sql.Tx, c Change) (before orders.LockOrderRow, fact []event.Event, err error) {
	q := orders.New(tx)
	before, err = q.LockOrder(ctx, c.OrderID)
	if errors.Is(err, sql.ErrNoRows) {
		return before, nil, fmt.Errorf("order %s: %w", c.OrderID, ErrUnknownOrder)
	}
	if err != nil {
		return before, nil, fmt.Errorf("lock order %s: %w", c.OrderID, err)
	}
	if !allowed(before.Status, c.To) {
		return before, nil, nil
	}
	var reason *string
	if c.Reason != "" {
		reason = &c.Reason
	}
	changed, err := q.SetStatus(ctx, orders.SetStatusParams{
		ID: c.OrderID, Version: before.Version, Status: c.To, FailureReason: reason, UpdatedAt: c.At,
	})
	if err != nil {
		return before, nil, fmt.Errorf("set order %s to %s: %w", c.OrderID, c.To, err)
	}
	if changed != 1 {
		return before, nil, fmt.Errorf("order %s changed under its lock", c.OrderID)
	}
	if c.Cause.CorrelationID == "" {
		c.Cause.CorrelationID = before.CorrelationID
	}
	e, err := events.New(c.Fact(before), before.Version+1, c.At, c.Cause)
	if err != nil {
		return before, nil, err
	}
	return before, []event.Event{e}, nil
}

func allowed(from, to orders.OrdersStatus) bool {
	return slices.Contains(next[from], to)
}
