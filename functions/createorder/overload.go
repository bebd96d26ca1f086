package createorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/admission"
	"example.com/orders/functions/internal/function/batch"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/orders"
)

// WaitVariable says how long an accepted order may take while more arrive than can be confirmed.
const WaitVariable = "ADMIT_MAX_WAIT"

// The bounds of ADMIT_MAX_WAIT: within less, an order may not end on an idle machine, and more is no limit to a client.
const shortestWait, longestWait = 200 * time.Millisecond, time.Minute

// maxWait reads ADMIT_MAX_WAIT, 0 if everything is admitted.
func maxWait(config map[string]string) (time.Duration, error) {
	text := config[WaitVariable]
	if text == "" || text == "0" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < shortestWait || wait > longestWait {
		return 0, fmt.Errorf("%s is %q: give how long an accepted order may take under overload, from %s to %s, or 0 to accept every order",
			WaitVariable, text, shortestWait, longestWait)
	}
	return wait, nil
}

// newGate returns what admits orders, nil if wait is 0.
func (f *Function) newGate(wait time.Duration) *admission.Gate {
	if wait == 0 {
		return nil
	}
	o := admission.Options{MaxWait: wait, Function: cmp.Or(f.Door, f.Name), Log: f.Logger(), Metrics: f.Metrics}
	o.Look = func(ctx context.Context) (s admission.Sample, err error) {
		now := f.Now()
		s.From = events.FirstOrderID(now.Add(-o.Horizon()))
		ids, err := orders.New(f.DB).ListPendingFrom(ctx, orders.ListPendingFromParams{FromID: s.From, Limit: admission.Highest})
		if err != nil {
			return s, fmt.Errorf("list the pending orders: %w", err)
		}
		if len(ids) == admission.Highest {
			s.From = ids[len(ids)-1]
		}
		s.Orders = make([]admission.Order, len(ids))
		for n, id := range ids {
			s.Orders[n].ID = id
			if made, err := uuid.Parse(id); err == nil {
				s.Orders[n].Age = max(0, now.Sub(time.Unix(made.Time().UnixTime())))
			}
		}
		return s, nil
	}
	return admission.New(o)
}

// Refuse returns the problem for an order that would be refused, nil if it may be accepted or if its key has an order already. It
// is for callers that would otherwise read and check the order in vain.
func (f *Function) Refuse(ctx context.Context, keyHash []byte) error {
	started := f.Started() == nil // Start sets the gate, as another goroutine
	if !started || !f.gate.Full() {
		return nil
	}
	_, err := f.first(ctx, keyHash)
	if _, refused := errors.AsType[*rest.Problem](err); refused {
		f.gate.Refuse()
	}
	return err
}

// enter admits an order that is to be stored, and returns what is to be called with its id once it is, or without when it will not
// be. If the order is refused and its key has an order already, it returns that one's answer.
func (f *Function) enter(ctx context.Context, requestHash, keyHash []byte) (leave func(id string), first Accepted, err error) {
	leave, err = f.gate.Enter(ctx)
	if !errors.Is(err, admission.ErrBusy) {
		return leave, Accepted{}, err
	}
	row, err := f.first(ctx, keyHash)
	if err != nil {
		return nil, Accepted{}, err
	}
	first, err = again(orders.GetOrderByKeyRow{ID: row.ID, RequestHash: row.RequestHash, CreatedAt: row.CreatedAt}, requestHash, true)
	return nil, first, err
}

// lookWithin bounds the look for the order of a key while orders are refused. A client that is to come again later hears so at once,
// even if the database does not answer; it gets the answer of its first request then.
const lookWithin = 250 * time.Millisecond

// What became of a refused order, as its client is told. The client may have lost the answer to a request before with the same key,
// so it hears that nothing was stored only if the key is known to have no order.
const (
	notStored = "this one was not stored, send it again after that"
	notKnown  = "whether an earlier request with this idempotency key stored one is not known yet, send it again with that key after that"
)

// first returns the order of the idempotency key of an order that finds no room. If there is none, or if that is not known in time,
// the error is the problem to refuse it with.
func (f *Function) first(ctx context.Context, keyHash []byte) (*orders.ListOrdersByKeysRow, error) {
	if keyHash == nil {
		return nil, f.busy(notStored)
	}
	ctx, cancel := context.WithTimeout(ctx, f.within)
	defer cancel()
	row, err := f.finding.Do(ctx, keyHash)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, f.busy(notKnown)
	case err != nil:
		return nil, fmt.Errorf("look for the order of an idempotency key: %w", err)
	case row == nil:
		return nil, f.busy(notStored)
	}
	return row, nil
}

// busy is the answer to an order beyond what can be confirmed in time. It is a 503, not a 429, since it is not this client that
// asks for too much; Knative delivers an event again after either.
func (f *Function) busy(became string) *rest.Problem {
	after := f.gate.Again()
	return rest.UnavailableFor(fmt.Sprintf("more orders arrive than can be confirmed within %s: %s", after, became), after)
}

// findings bounds the keys that are looked up by one statement: while orders are refused, their retries must not cost a
// statement each.
var findings = batch.Options{Size: 256, Parallel: 1, Singles: 1, Timeout: 5 * time.Second, AloneTimeout: 5 * time.Second}

// find returns for each idempotency key its order, nil without one.
func (f *Function) find(ctx context.Context, keyHashes [][]byte, _ bool) ([]*orders.ListOrdersByKeysRow, error) {
	rows, err := orders.New(f.DB).ListOrdersByKeys(ctx, keyHashes)
	if err != nil {
		return nil, err
	}
	byKey := make(map[string]*orders.ListOrdersByKeysRow, len(rows))
	for i := range rows {
		byKey[string(rows[i].IdempotencyKeyHash)] = &rows[i]
	}
	found := make([]*orders.ListOrdersByKeysRow, len(keyHashes))
	for i, key := range keyHashes {
		found[i] = byKey[string(key)]
	}
	return found, nil
}
