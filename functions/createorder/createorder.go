// Package createorder accepts orders. Consumes the command order.create, as a CloudEvent over HTTP or in-process from
// the orders API; emits order.created and answers order.accepted.
package createorder

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/failpoint"
	"example.com/orders/functions/internal/groupcommit"
	"example.com/orders/functions/internal/instance"
	"example.com/orders/functions/internal/outbox"
	"example.com/orders/functions/internal/rest"
	"example.com/orders/functions/internal/tracing"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// Function accepts orders.
type Function struct {
	instance.Instance
	// Currency is the ISO 4217 code of the amounts; CURRENCY sets it.
	Currency string

	storing *groupcommit.Group[pending, struct{}]
}

// New returns the function as it is deployed.
func New() *Function {
	return &Function{Instance: instance.Instance{Name: "create-order", Schema: schema.Orders}}
}

var validCurrency = regexp.MustCompile(`^[A-Z]{3}$`)

// Start reads CURRENCY, EUR when it is not set, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) error {
	if f.Currency == "" {
		f.Currency = config["CURRENCY"]
	}
	if f.Currency == "" {
		f.Currency = "EUR"
	}
	if !validCurrency.MatchString(f.Currency) {
		return fmt.Errorf("CURRENCY is %q: give an ISO 4217 code like EUR", f.Currency)
	}
	f.storing = groupcommit.New(groupSize, groups, groupTimeout, f.store)
	return f.Instance.Start(ctx, config)
}

// Handle answers a CloudEvent order.create, in binary or structured mode.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.serve(w, r) }

// Command is a request for an order.
type Command struct {
	Order events.CreateOrder
	// KeyHash is the hash of the idempotency key, nil when there is none.
	KeyHash []byte
	Cause   events.Cause
}

// Accepted is the answer to a command. A command that was sent again is answered like the first time.
type Accepted struct {
	events.OrderAnswer
	CreatedAt time.Time
	Replayed  bool
}

// ErrKeyReused means that the idempotency key was used before with another order.
var ErrKeyReused = errors.New("the idempotency key was used before with another body")

// Create stores the order and its order.created in one transaction. Of all commands with one idempotency key the first
// to commit makes the order, and the others get its answer: each waits at the unique index for the one that is there
// before it.
func (f *Function) Create(ctx context.Context, c Command) (Accepted, error) {
	if err := f.Started(); err != nil {
		return Accepted{}, err
	}
	failpoint.Pass(failpoint.In(ctx, f.Name), failpoint.RequestRead)
	p, err := f.prepare(c)
	if err != nil {
		return Accepted{}, err
	}
	if _, err = f.storing.Do(ctx, p); err != nil {
		if ctx.Err() != nil {
			return Accepted{}, fmt.Errorf("create order: %w", ctx.Err())
		}
		// The error of a group says nothing about one of its orders.
		err = insert(ctx, f.Transact, []pending{p})
	}
	if schema.IsDuplicate(err) {
		return f.replay(ctx, p.order.ID, p.order.RequestHash, c.KeyHash)
	}
	if err != nil {
		return Accepted{}, fmt.Errorf("create order: %w", err)
	}
	f.Log.InfoContext(ctx, "order accepted", "function", f.Name, "order_id", p.order.ID, "correlation_id", c.Cause.CorrelationID)
	return accepted(p.order.ID, p.order.CreatedAt, false), nil
}

// pending is an order that is to be stored.
type pending struct {
	order   orders.InsertOrderParams
	items   []orders.InsertItemParams
	created event.Event
}

// prepare makes what is to be stored for a command. The order's id is chosen before the transaction, so that one that is
// run again, its first commit having been of unknown outcome, meets its own order.
func (f *Function) prepare(c Command) (pending, error) {
	id, now, fingerprint := f.NewID(), f.Now(), c.Order.Fingerprint()
	total, err := events.Total(c.Order.Items)
	if err != nil {
		return pending{}, err
	}
	p := pending{
		order: orders.InsertOrderParams{
			ID: id, CustomerEmail: c.Order.CustomerEmail, Status: orders.OrdersStatusPENDING,
			TotalAmount: total, Currency: f.Currency, Version: 1,
			IdempotencyKeyHash: c.KeyHash, RequestHash: fingerprint[:], CorrelationID: c.Cause.CorrelationID,
			CreatedAt: now, UpdatedAt: now,
		},
		items: make([]orders.InsertItemParams, len(c.Order.Items)),
	}
	for i, item := range c.Order.Items {
		p.items[i] = orders.InsertItemParams{OrderID: id, Sku: item.SKU, UnitPrice: item.UnitPrice, Quantity: item.Quantity}
	}
	p.created, err = events.New(events.OrderCreated{
		OrderID: id, CustomerEmail: c.Order.CustomerEmail, Items: c.Order.Items, TotalAmount: total, CreatedAt: now,
	}, 1, now, c.Cause)
	return p, err
}

// Orders that wait at the same time are stored together: so many at once, in so many transactions in parallel when enough
// wait to fill them. A group that waits too long for an idempotency key which another transaction holds, or that takes
// longer than the timeout for any other reason, is given up: each of its orders is stored alone then.
const (
	groupSize    = 64
	groups       = 2
	groupTimeout = 5 * time.Second
)

// store stores orders in one transaction.
func (f *Function) store(ctx context.Context, group []pending) []groupcommit.Result[struct{}] {
	results := make([]groupcommit.Result[struct{}], len(group))
	created := make([]event.Event, len(group))
	for i, p := range group {
		created[i] = p.created
	}
	if err := insert(tracing.Lead(ctx, created), f.TransactGroup, group); err != nil {
		for i := range results {
			results[i].Err = err
		}
	}
	return results
}

// insert stores orders, their lines and their order.created in one transaction.
func insert(ctx context.Context, transact func(context.Context, outbox.Work) error, group []pending) error {
	rows := make([]orders.InsertOrderParams, len(group))
	var items []orders.InsertItemParams
	created := make([]event.Event, len(group))
	for i, p := range group {
		rows[i], created[i] = p.order, p.created
		items = append(items, p.items...)
	}
	return transact(ctx, func(ctx context.Context, tx *sql.Tx) ([]event.Event, error) {
		ctx = schema.Later(ctx)
		q := orders.New(tx)
		if err := q.InsertOrders(ctx, rows); err != nil {
			return nil, fmt.Errorf("insert %d orders: %w", len(rows), err)
		}
		if err := q.InsertItems(ctx, items); err != nil {
			return nil, fmt.Errorf("insert the lines of %d orders: %w", len(rows), err)
		}
		return created, nil
	})
}

// replay answers a command that met an order which is there already: by its key, or by its id when the commit of this
// very command was thought to be lost.
func (f *Function) replay(ctx context.Context, id string, fingerprint, keyHash []byte) (Accepted, error) {
	q := orders.New(f.DB)
	if keyHash == nil {
		order, err := q.GetOrder(ctx, id)
		if err != nil {
			return Accepted{}, fmt.Errorf("read order %s after its commit was lost: %w", id, err)
		}
		return accepted(id, order.CreatedAt, false), nil
	}
	first, err := q.GetOrderByKey(ctx, keyHash)
	if err != nil {
		return Accepted{}, fmt.Errorf("read the order of an idempotency key: %w", err)
	}
	if !bytes.Equal(first.RequestHash, fingerprint) {
		return Accepted{}, ErrKeyReused
	}
	return accepted(first.ID, first.CreatedAt, first.ID != id), nil
}

func accepted(id string, at time.Time, replayed bool) Accepted {
	return Accepted{OrderAnswer: events.OrderAnswer{OrderID: id, Status: string(orders.OrdersStatusPENDING)}, CreatedAt: at, Replayed: replayed}
}

// Location is the path of the order at the orders API.
func (a Accepted) Location() string { return "/api/orders/" + a.OrderID }

// KeyReused is the answer to a key that was used before with another order.
func KeyReused() *rest.Problem {
	return rest.NewProblem(http.StatusUnprocessableEntity, "this "+rest.KeyHeader+" was used before with another body: take a new key for another order")
}
