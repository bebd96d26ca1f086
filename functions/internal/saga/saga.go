// Package saga is the state machine of an order. What goes in is the status that an order shall have; what comes out
// is the fact of its change, or nothing when the order's status does not allow it.
package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
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
	changed, err := q.SetStatus(ctx, orders.SetStatusParams{
		ID: c.OrderID, Version: before.Version, Status: c.To, FailureReason: c.reason(), UpdatedAt: c.At,
	})
	if err != nil {
		return before, nil, fmt.Errorf("set order %s to %s: %w", c.OrderID, c.To, err)
	}
	if changed != 1 {
		return before, nil, fmt.Errorf("order %s changed under its lock", c.OrderID)
	}
	e, err := c.fact(before)
	return before, []event.Event{e}, err
}

// ApplyAll is Apply for several changes to the same status, with few statements for all of them. It returns what each
// led to, in their order: of two for one order the first. It fails for all when one is about an order that there is not.
func ApplyAll(ctx context.Context, tx *sql.Tx, changes []Change) ([][]event.Event, error) {
	q := orders.New(tx)
	ids := map[string]bool{}
	for _, c := range changes {
		ids[c.OrderID] = true
	}
	rows, err := q.LockOrders(ctx, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return nil, fmt.Errorf("lock %d orders: %w", len(ids), err)
	}
	locked := make(map[string]orders.LockOrderRow, len(rows))
	for _, row := range rows {
		locked[row.ID] = orders.LockOrderRow(row)
	}
	facts := make([][]event.Event, len(changes))
	changed := map[outcome][]string{}
	for n, c := range changes {
		before, known := locked[c.OrderID]
		if !known {
			return nil, fmt.Errorf("order %s: %w", c.OrderID, ErrUnknownOrder)
		}
		if !ids[c.OrderID] || !allowed(before.Status, c.To) {
			continue // it has moved on, here or before
		}
		ids[c.OrderID] = false
		e, err := c.fact(before)
		if err != nil {
			return nil, err
		}
		facts[n] = []event.Event{e}
		to := outcome{c.To, c.Reason, c.At}
		changed[to] = append(changed[to], c.OrderID)
	}
	for to, ids := range changed {
		if err := q.SetStatuses(schema.Later(ctx), orders.SetStatusesParams{
			Status: to.status, FailureReason: Change{Reason: to.reason}.reason(), UpdatedAt: to.at, Ids: ids,
		}); err != nil {
			return nil, fmt.Errorf("set %d orders to %s: %w", len(ids), to.status, err)
		}
	}
	return facts, nil
}

// outcome is what the changes that one statement makes have in common.
type outcome struct {
	status orders.OrdersStatus
	reason string
	at     time.Time
}

func (c Change) reason() *string {
	if c.Reason == "" {
		return nil
	}
	return &c.Reason
}

// fact makes the event that tells of the change of an order.
func (c Change) fact(before orders.LockOrderRow) (event.Event, error) {
	if c.Cause.CorrelationID == "" {
		c.Cause.CorrelationID = before.CorrelationID
	}
	return events.New(c.Fact(before), before.Version+1, c.At, c.Cause)
}

func allowed(from, to orders.OrdersStatus) bool {
	return slices.Contains(next[from], to)
}
