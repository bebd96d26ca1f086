// Package createorder accepts orders. Consumes the command order.create, as a CloudEvent over HTTP or in-process from
// the orders API; emits order.created and answers order.accepted.
package createorder

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/batch"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/dberror"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// Function accepts orders.
type Function struct {
	base.Base
	// Currency is the ISO 4217 code of the amounts; CURRENCY sets it.
	Currency string

	storing *batch.Collector[pending, struct{}]
}

// New returns the function as it is deployed.
func New() *Function {
	return &Function{Base: base.Base{Name: "create-order", Schema: schema.Orders}}
}

var validCurrency = regexp.MustCompile(`^[A-Z]{3}$`)

// DefaultCurrency is the currency if CURRENCY is not set.
const DefaultCurrency = "EUR"

// Start reads CURRENCY and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) error {
	if f.Currency == "" {
		f.Currency = cmp.Or(config["CURRENCY"], DefaultCurrency)
	}
	if !validCurrency.MatchString(f.Currency) {
		return fmt.Errorf("CURRENCY is %q: give an ISO 4217 code like EUR", f.Currency)
	}
	f.storing = batch.New(batches, f.store)
	return f.Base.Start(ctx, config)
}

// Handle answers a CloudEvent order.create, in binary or structured mode.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.serve(w, r) }

// Command is a request to create an order.
type Command struct {
	Order events.CreateOrder
	// KeyHash is the hash of the idempotency key, nil without one.
	KeyHash []byte
	Cause   events.Cause
}

// Accepted is the answer to a command. A repeated command gets the first answer again, with Replayed set.
type Accepted struct {
	events.OrderAnswer
	CreatedAt time.Time
	Replayed  bool
}

// ErrKeyReused means that the idempotency key was used before for another order.
var ErrKeyReused = errors.New("the idempotency key was used before with another body")

// Create stores the order and its order.created in one transaction. Of all commands with one idempotency key the first to
// commit creates the order, and the others return its answer: each waits at the unique index for the one before it.
func (f *Function) Create(ctx context.Context, c Command) (Accepted, error) {
	if err := f.Started(); err != nil {
		return Accepted{}, err
	}
	failpoint.Pass(failpoint.In(ctx, f.Name), failpoint.RequestRead)
	p, err := f.prepare(c)
	if err != nil {
		return Accepted{}, err
	}
	_, err = f.storing.Do(ctx, p)
	if dberror.IsDuplicate(err) {
		return f.replay(ctx, p.order.ID, p.order.RequestHash, c.KeyHash)
	}
	if err != nil {
		return Accepted{}, fmt.Errorf("create order: %w", err)
	}
	f.Log.InfoContext(ctx, "order accepted", "function", f.Name, "order_id", p.order.ID, "correlation_id", c.Cause.CorrelationID)
	return accepted(p.order.ID, p.order.CreatedAt, false), nil
}

// pending is an order to be stored.
type pending struct {
	order   orders.InsertOrderParams
	items   []orders.InsertItemParams
	created event.Event
}

// prepare builds the rows and the event of a command. It chooses the order's id before the transaction: if the outcome of
// the first commit is unknown, the repeated transaction finds its own order.
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

// batches bounds the orders that are stored in one transaction. A batch waits only briefly for an idempotency key that
// another transaction holds; a single order waits for it as long as a client does.
var batches = batch.Options{Size: 64, Parallel: 2, Singles: 8, Timeout: 5 * time.Second, AloneTimeout: 10 * time.Second}

// store inserts orders, their lines and their order.created in one transaction.
func (f *Function) store(ctx context.Context, all []pending, alone bool) ([]struct{}, error) {
	rows := make([]orders.InsertOrderParams, len(all))
	var items []orders.InsertItemParams
	created := make([]event.Event, len(all))
	for i, p := range all {
		rows[i], created[i] = p.order, p.created
		items = append(items, p.items...)
	}
	transact := f.TransactShared
	if alone {
		transact = f.Transact
	}
	err := transact(tracing.Lead(ctx, created), func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		q := orders.New(tx.Deferred())
		if err := q.InsertOrders(ctx, rows); err != nil {
			return nil, fmt.Errorf("insert %d orders: %w", len(rows), err)
		}
		if err := q.InsertItems(ctx, items); err != nil {
			return nil, fmt.Errorf("insert the lines of %d orders: %w", len(rows), err)
		}
		return created, nil
	})
	return make([]struct{}, len(all)), err
}

// replay answers a command whose order exists already: under its key, or under its id if the commit of this command was
// thought to be lost.
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

// Location returns the path of the order in the orders API.
func (a Accepted) Location() string { return "/api/orders/" + a.OrderID }

// KeyReused is the problem for ErrKeyReused.
func KeyReused() *rest.Problem {
	return rest.NewProblem(http.StatusUnprocessableEntity, "this "+rest.KeyHeader+" was used before with another body: use a new key for another order")
}
