// Package createorder accepts orders. Consumes the command order.create, as a CloudEvent over HTTP or in-process from
// the orders API; emits order.created and answers order.accepted.
package createorder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/admission"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/batch"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/functions/internal/web/identity"
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
	// EventVersion is the version of order.created that the function emits, 1 or 2; ORDER_CREATED_VERSION sets it.
	EventVersion int

	// Door is the name, in the log and the metrics of admission, of the function by which orders come in; empty for this one.
	Door string

	maxOpen int // how many orders of a customer may be open; 0 for any number; MAX_OPEN_ORDERS sets it
	storing *batch.Collector[pending, error]
	gate    *admission.Gate // nil if every order is admitted; ADMIT_MAX_WAIT sets it
	finding *batch.Collector[[]byte, *orders.ListOrdersByKeysRow]
	within  time.Duration // bounds the look for the order of a key; lookWithin but for tests
}

// New returns the function as it is deployed.
func New() *Function {
	return &Function{Base: base.Base{Name: "create-order", Schema: schema.Orders}, within: lookWithin}
}

// Start reads CURRENCY, ORDER_CREATED_VERSION, MAX_OPEN_ORDERS and ADMIT_MAX_WAIT, and opens the database.
func (f *Function) Start(ctx context.Context, config map[string]string) (err error) {
	if f.Currency == "" {
		if f.Currency, err = base.Currency(config); err != nil {
			return err
		}
	}
	if f.EventVersion == 0 {
		if f.EventVersion, err = eventVersion(config); err != nil {
			return err
		}
	}
	if f.maxOpen, err = maxOpenOrders(config); err != nil {
		return err
	}
	wait, err := maxWait(config)
	if err != nil {
		return err
	}
	f.storing, f.finding = batch.New(batches, f.store), batch.New(findings, f.find)
	f.gate = f.newGate(wait)
	return f.Base.Start(ctx, config)
}

// Stop ends what admits orders, and closes what Start opened.
func (f *Function) Stop(ctx context.Context) error {
	if f.Started() == nil { // Start is another goroutine's
		f.gate.Close()
	}
	return f.Base.Stop(ctx)
}

// eventVersion reads ORDER_CREATED_VERSION. It is 1 until the deployment says that every consumer reads version 2.
func eventVersion(config map[string]string) (int, error) {
	switch text := config["ORDER_CREATED_VERSION"]; text {
	case "", "1":
		return 1, nil
	case "2":
		return 2, nil
	default:
		return 0, fmt.Errorf("ORDER_CREATED_VERSION is %q: give 1, or 2 once every consumer of order.created reads it", text)
	}
}

// Handle answers a CloudEvent order.create, in binary or structured mode.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) { f.serve(w, r) }

// Command is a request to create an order.
type Command struct {
	Order events.CreateOrder
	// Channel is how the request came in.
	Channel events.Channel
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
// commit creates the order, and the others return its answer: each waits at the unique index for the one before it. The order
// belongs to the principal of ctx; the error is a *rest.Problem if that one may not order this, or not at this price, or if
// orders arrive faster than they end.
func (f *Function) Create(ctx context.Context, c Command) (Accepted, error) {
	if err := f.Started(); err != nil {
		return Accepted{}, err
	}
	failpoint.Pass(failpoint.In(ctx, f.Name), failpoint.RequestRead)
	ctx = f.Identity.Admit(ctx)
	if err := mayOrder(identity.From(ctx), c.Order.CustomerEmail); err != nil {
		return Accepted{}, err
	}
	asked := c.Order.Fingerprint()
	if f.priced(ctx) {
		// First, since the price may have changed after the first command with the key.
		if first, known, err := f.known(ctx, asked[:], c.KeyHash); known || err != nil {
			return first, err
		}
		var err error
		if c.Order, err = f.price(ctx, c.Order); err != nil {
			return Accepted{}, err
		}
	}
	leave, first, err := f.enter(ctx, asked[:], c.KeyHash)
	if leave == nil {
		return first, err
	}
	var stored string
	defer func() { leave(stored) }()
	p, err := f.prepare(c, asked)
	if err != nil {
		return Accepted{}, err
	}
	if owner := identity.From(ctx).Owner(); owner != "" {
		p.order.Owner = &owner
	}
	p.customer = f.customer(ctx, c.Order.CustomerEmail)
	refused, err := f.storing.Do(ctx, p)
	if dberror.IsDuplicate(err) {
		return f.replay(ctx, p.order.ID, p.order.RequestHash, c.KeyHash)
	}
	if err != nil {
		return Accepted{}, fmt.Errorf("create order: %w", err)
	}
	if refused != nil {
		return f.refuse(ctx, p, c.KeyHash)
	}
	stored = p.order.ID
	f.Recent.Add(p.row())
	f.Log.InfoContext(ctx, "order accepted", "function", f.Name, "order_id", p.order.ID, "correlation_id", c.Cause.CorrelationID)
	return accepted(p.order.ID, p.order.CreatedAt, false), nil
}

// pending is an order to be stored.
type pending struct {
	order   orders.InsertOrderParams
	items   []orders.InsertItemParams
	created event.Event

	customer []byte // whose open orders are limited, nil without a limit
}

// row returns the order as it is stored.
func (p pending) row() saga.Order {
	return saga.Order{
		ID: p.order.ID, CustomerEmail: p.order.CustomerEmail, Status: p.order.Status,
		TotalAmount: p.order.TotalAmount, Version: p.order.Version, CorrelationID: p.order.CorrelationID,
	}
}

// prepare builds the rows and the event of a command; asked is the fingerprint of the order with the prices as the client sent
// them, or left them out. It chooses the order's id before the transaction: if the outcome of the first commit is unknown, the
// repeated transaction finds its own order.
func (f *Function) prepare(c Command, asked [sha256.Size]byte) (pending, error) {
	id, now := f.NewID(), f.Now()
	total, err := events.Total(c.Order.Items)
	if err != nil {
		return pending{}, err
	}
	p := pending{
		order: orders.InsertOrderParams{
			ID: id, CustomerEmail: c.Order.CustomerEmail, Status: orders.OrdersStatusPENDING,
			TotalAmount: total, Currency: f.Currency, Version: 1,
			IdempotencyKeyHash: c.KeyHash, RequestHash: asked[:], CorrelationID: c.Cause.CorrelationID,
			CreatedAt: now, UpdatedAt: now,
		},
		items: make([]orders.InsertItemParams, len(c.Order.Items)),
	}
	for i, item := range c.Order.Items {
		p.items[i] = orders.InsertItemParams{OrderID: id, Sku: item.SKU, UnitPrice: item.UnitPrice, Quantity: item.Quantity}
	}
	p.created, err = events.New(f.fact(events.OrderCreated{
		OrderID: id, CustomerEmail: c.Order.CustomerEmail, Items: c.Order.Items, TotalAmount: total,
		Currency: f.Currency, Channel: c.Channel, CreatedAt: now,
	}), 1, now, c.Cause)
	return p, err
}

// fact returns d in the version that the function emits.
func (f *Function) fact(d events.OrderCreated) events.Data {
	if f.EventVersion == 1 {
		return d.V1()
	}
	return d
}

// batches bounds the orders that are stored in one transaction. A batch waits only briefly for an idempotency key that
// another transaction holds; a single order waits for it as long as a client does.
var batches = batch.Options{Size: 64, Parallel: 2, Singles: 8, Timeout: 5 * time.Second, AloneTimeout: 10 * time.Second}

// store inserts orders, their lines and their order.created in one transaction. It returns for each order nil, or the error
// for which it is not stored.
func (f *Function) store(ctx context.Context, all []pending, alone bool) ([]error, error) {
	created := make([]event.Event, len(all))
	for i, p := range all {
		created[i] = p.created
	}
	transact := f.TransactShared
	if alone {
		transact = f.Transact
	}
	var refused []error
	err := transact(tracing.Lead(ctx, created), func(ctx context.Context, tx *transaction.Tx) (_ []event.Event, err error) {
		if refused, err = f.admit(ctx, tx, all); err != nil {
			return nil, err
		}
		return insert(ctx, tx, all, refused)
	})
	return refused, err
}

// insert inserts the orders that were not refused and their lines, and returns their order.created.
func insert(ctx context.Context, tx *transaction.Tx, all []pending, refused []error) (created []event.Event, err error) {
	var rows []orders.InsertOrderParams
	var items []orders.InsertItemParams
	for i, p := range all {
		if refused[i] == nil {
			rows, items, created = append(rows, p.order), append(items, p.items...), append(created, p.created)
		}
	}
	q := orders.New(tx.Deferred())
	if err := q.InsertOrders(ctx, rows); err != nil {
		return nil, fmt.Errorf("insert %d orders: %w", len(rows), err)
	}
	if err := q.InsertItems(ctx, items); err != nil {
		return nil, fmt.Errorf("insert the lines of %d orders: %w", len(rows), err)
	}
	return created, nil
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
	return again(first, fingerprint, first.ID != id)
}

// known returns the answer to a command whose idempotency key has an order already.
func (f *Function) known(ctx context.Context, fingerprint, keyHash []byte) (a Accepted, known bool, err error) {
	if keyHash == nil {
		return Accepted{}, false, nil
	}
	first, err := orders.New(f.DB).GetOrderByKey(ctx, keyHash)
	if errors.Is(err, sql.ErrNoRows) {
		return Accepted{}, false, nil
	}
	if err != nil {
		return Accepted{}, false, fmt.Errorf("look for the order of an idempotency key: %w", err)
	}
	a, err = again(first, fingerprint, true)
	return a, true, err
}

// again returns the answer that the first command with an idempotency key got.
func again(first orders.GetOrderByKeyRow, fingerprint []byte, replayed bool) (Accepted, error) {
	if !bytes.Equal(first.RequestHash, fingerprint) {
		return Accepted{}, ErrKeyReused
	}
	return accepted(first.ID, first.CreatedAt, replayed), nil
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
