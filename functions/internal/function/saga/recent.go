package saga

import (
	"context"
	"fmt"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/sql/orders"
	"example.com/orders/sql/transaction"
)

// remembered bounds the orders of a Recent. They are few while orders come one at a time, for which alone they are of use.
const remembered = 256

// Recent remembers the newest orders that this process has committed, so that the next change of one need not read it first. It may
// be wrong: a row may have changed or be lost since. A nil Recent remembers nothing. Its methods may be called concurrently.
type Recent struct {
	mu     sync.Mutex
	orders map[string]Order
	ids    [remembered]string // a ring, the oldest at next
	next   int
}

// NewRecent returns a Recent without orders.
func NewRecent() *Recent { return &Recent{orders: make(map[string]Order, remembered)} }

// Add remembers an order as it was committed.
func (r *Recent) Add(o Order) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.orders, r.ids[r.next])
	r.orders[o.ID], r.ids[r.next] = o, o.ID
	r.next = (r.next + 1) % remembered
}

// take returns the order and forgets it.
func (r *Recent) take(id string) (o Order, known bool) {
	if r == nil {
		return o, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o, known = r.orders[id]
	delete(r.orders, id)
	return o, known
}

// Apply is the function Apply, but for the change of one order that is remembered and may be tried again, it reads nothing: all its
// statements are sent with the commit, in one round trip. It assumes that the row still has the version that is remembered. The
// transaction fails if not, and the order is forgotten, so that the next attempt reads the row under its lock.
func (r *Recent) Apply(ctx context.Context, tx *transaction.Tx, changes ...Change) ([]Applied, error) {
	if len(changes) == 1 && tx.Shared() {
		c := changes[0]
		if before, known := r.take(c.OrderID); known && allowed(before.Status, c.To) {
			applied, err := assume(ctx, tx, before, c)
			return []Applied{applied}, err
		}
	}
	return Apply(ctx, tx, changes...)
}

// assume changes the row of an order if it is as in before, and lets the transaction fail otherwise.
func assume(ctx context.Context, tx *transaction.Tx, before Order, c Change) (Applied, error) {
	e, err := c.fact(before)
	if err != nil {
		return Applied{}, err
	}
	to := c.outcome()
	if err := orders.New(tx.Deferred()).SetStatusFrom(ctx, orders.SetStatusFromParams{
		Status: to.status, FailureReason: to.failureReason(), UpdatedAt: to.at, ID: before.ID, Version: before.Version,
	}); err != nil {
		return Applied{}, fmt.Errorf("set order %s to %s: %w", before.ID, to.status, err)
	}
	if err := tx.MustHaveChanged(ctx, 1); err != nil {
		return Applied{}, fmt.Errorf("compare the version of order %s: %w", before.ID, err)
	}
	return Applied{before, []event.Event{e}}, nil
}
