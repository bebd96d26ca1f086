package createorder

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/transaction"
)

// highestMaxOpen is the highest value of MAX_OPEN_ORDERS: each order of a customer reads all its open ones.
const highestMaxOpen = 1000

// openAgain is when a customer with too many open orders should try again: most become final within seconds.
const openAgain = 5 * time.Second

// maxOpenOrders reads MAX_OPEN_ORDERS, 0 without a limit.
func maxOpenOrders(config map[string]string) (int, error) {
	return base.Limit(config, "MAX_OPEN_ORDERS", "how many orders of a customer may be PENDING", highestMaxOpen)
}

// errTooManyOpen refuses an order because of the customer's other orders.
var errTooManyOpen = errors.New("the customer has too many open orders")

// customer returns the hash of whose open orders an order counts among, nil without a limit.
func (f *Function) customer(ctx context.Context, email string) []byte {
	if f.maxOpen == 0 {
		return nil
	}
	return orders.CustomerHash(identity.From(ctx).Owner(), email)
}

// admit locks the customers of all and returns for each order nil, or errTooManyOpen if its customer has as many open orders
// as it may, the earlier ones of all included. It also writes, at the latest with the commit, which orders are open now. The
// lock makes the count exact: of two transactions with orders of one customer the second one sees the orders of the first.
func (f *Function) admit(ctx context.Context, tx *transaction.Tx, all []pending) ([]error, error) {
	refused := make([]error, len(all))
	if f.maxOpen == 0 {
		return refused, nil
	}
	later := orders.New(tx.Deferred())
	locks, customers := make([]uint16, len(all)), make([][]byte, len(all))
	for i, p := range all {
		locks[i], customers[i] = uint16(p.customer[0])<<8|uint16(p.customer[1]), p.customer
	}
	slices.Sort(locks)
	if err := later.LockAllCustomers(ctx, slices.Compact(locks)); err != nil {
		return nil, fmt.Errorf("lock the customers of %d orders: %w", len(all), err)
	}
	known, err := orders.New(tx).ListOpenOrders(ctx, customers)
	if err != nil {
		return nil, fmt.Errorf("list the open orders of %d customers: %w", len(customers), err)
	}
	open, stored, final := map[string]int{}, map[string]bool{}, orders.DeleteOpenOrdersParams{Customers: customers}
	for _, row := range known {
		if row.Open == 0 {
			final.OrderIds = append(final.OrderIds, row.OrderID)
			continue
		}
		stored[row.OrderID] = true
		open[string(row.Customer)]++
	}
	var added []orders.InsertOpenOrderParams
	for i, p := range all {
		switch {
		case stored[p.order.ID]: // its commit was thought to be lost
		case open[string(p.customer)] >= f.maxOpen:
			refused[i] = errTooManyOpen
		default:
			open[string(p.customer)]++
			added = append(added, orders.InsertOpenOrderParams{Customer: p.customer, OrderID: p.order.ID})
		}
	}
	if len(final.OrderIds) > 0 {
		if err := later.DeleteOpenOrders(ctx, final); err != nil {
			return nil, fmt.Errorf("remove %d orders from the open ones: %w", len(final.OrderIds), err)
		}
	}
	slices.SortFunc(added, func(a, b orders.InsertOpenOrderParams) int {
		return cmp.Or(slices.Compare(a.Customer, b.Customer), cmp.Compare(a.OrderID, b.OrderID))
	})
	if err := later.InsertOpenOrders(ctx, added); err != nil {
		return nil, fmt.Errorf("note %d open orders: %w", len(added), err)
	}
	return refused, nil
}

// refuse answers an order beyond the limit, unless it repeats a stored one.
func (f *Function) refuse(ctx context.Context, p pending, keyHash []byte) (Accepted, error) {
	if keyHash != nil {
		again, err := f.replay(ctx, p.order.ID, p.order.RequestHash, keyHash)
		if !errors.Is(err, sql.ErrNoRows) {
			return again, err
		}
	}
	f.Metrics.CountLimited(metrics.LimitedOpenOrders)
	return Accepted{}, rest.TooMany(fmt.Sprintf("a customer may have %d open orders at a time: wait until one of them is confirmed or has failed, or cancel one", f.maxOpen), openAgain)
}
