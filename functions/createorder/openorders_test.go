package createorder

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// bounded starts the function with a limit of open orders.
func bounded(t *testing.T, f *Function, most int) *Function {
	t.Helper()
	return functiontest.Start(t, f, map[string]string{"MAX_OPEN_ORDERS": strconv.Itoa(most)})
}

// of returns a command of a customer.
func of(email, key string) Command {
	c := keyed(key, 1)
	c.Order.CustomerEmail = email
	return c
}

func assertTooMany(t *testing.T, err error) {
	t.Helper()
	problem, ok := errors.AsType[*rest.Problem](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, http.StatusTooManyRequests, problem.Status)
	assert.Contains(t, problem.Detail, "open orders at a time: wait until one of them is confirmed or has failed, or cancel one")
}

func open(t *testing.T, f *Function, email string) int {
	t.Helper()
	return mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE status = 'PENDING' AND customer_email = ?", email)
}

func TestACustomerHasOnlySoManyOpenOrders(t *testing.T) {
	f, counted := New(), exposition.New()
	f.Metrics = counted.Metrics
	bounded(t, f, 2)
	first, err := f.Create(t.Context(), of("alice@example.com", "1"))
	require.NoError(t, err)
	_, err = f.Create(t.Context(), of("alice@example.com", "2"))
	require.NoError(t, err)

	_, err = f.Create(t.Context(), of("alice@example.com", "3"))
	assertTooMany(t, err)
	_, err = f.Create(t.Context(), of("Alice@Example.com", "4"))
	assertTooMany(t, err)
	_, err = f.Create(t.Context(), of("bob@example.com", "5"))
	require.NoError(t, err, "is another customer")
	again, err := f.Create(t.Context(), of("alice@example.com", "1"))
	require.NoError(t, err, "repeats an accepted order")
	assert.Equal(t, first.OrderID, again.OrderID)
	assert.True(t, again.Replayed)
	other := of("alice@example.com", "1")
	other.Order.Items[0].Quantity = 2
	_, err = f.Create(t.Context(), other)
	require.ErrorIs(t, err, ErrKeyReused)

	for _, status := range []orders.OrdersStatus{orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED} {
		_, err := f.DB.ExecContext(t.Context(), "UPDATE orders SET status = ? WHERE status = 'PENDING' AND customer_email = 'alice@example.com' LIMIT 1", status)
		require.NoError(t, err)
		_, err = f.Create(t.Context(), of("alice@example.com", "after "+string(status)))
		require.NoError(t, err, "a final order makes room")
		_, err = f.Create(t.Context(), of("alice@example.com", "more"))
		assertTooMany(t, err)
	}
	for _, statement := range []string{
		"DELETE i FROM orders o JOIN order_items i ON i.order_id = o.id WHERE customer_email = 'alice@example.com'",
		"DELETE FROM orders WHERE customer_email = 'alice@example.com'",
	} {
		_, err = f.DB.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	_, err = f.Create(t.Context(), of("alice@example.com", "more"))
	require.NoError(t, err, "and so does one that was deleted; the refusals have left no key")
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM open_orders WHERE customer = ?", orders.CustomerHash("", "alice@example.com")))
	assert.InDelta(t, 5, functiontest.Counted(t, counted, "orders_limited_total", "open_orders"), 0)
	assert.Len(t, outboxtest.Drain(t, f.DB), 7)
}

func TestOpenOrdersBelongToThePrincipal(t *testing.T) {
	f := bounded(t, New(), 1)
	as := func(subject string) context.Context {
		return identity.With(t.Context(), identity.Principal{Issuer: "https://id.example.com", Subject: subject, Email: "shared@example.com", EmailVerified: true})
	}
	_, err := f.DB.ExecContext(t.Context(), "INSERT INTO prices (sku, unit_price, currency, updated_at) VALUES ('SKU-123', 1299, 'EUR', NOW(6))")
	require.NoError(t, err)
	_, err = f.Create(as("alice"), of("shared@example.com", "1"))
	require.NoError(t, err)
	_, err = f.Create(as("alice"), of("shared@example.com", "2"))
	assertTooMany(t, err)
	_, err = f.Create(as("bob"), of("shared@example.com", "3"))
	require.NoError(t, err, "another one with the same address")
}

// TestRacingOrdersStayWithinTheLimit has two replicas, whose batches have orders of a few customers.
func TestRacingOrdersStayWithinTheLimit(t *testing.T) {
	const most, customers, each = 3, 4, 12
	f := bounded(t, New(), most)
	second := New()
	second.DB = f.DB
	replicas := []*Function{f, bounded(t, second, most)}
	var accepted, refused atomic.Int64
	functiontest.Concurrently(customers*each, func(i int) {
		_, err := replicas[i%2].Create(t.Context(), of(fmt.Sprint("customer-", i/each, "@example.com"), fmt.Sprint("k-", i)))
		if err == nil {
			accepted.Add(1)
			return
		}
		refused.Add(1)
		assertTooMany(t, err)
	})
	assert.EqualValues(t, customers*most, accepted.Load())
	assert.EqualValues(t, customers*(each-most), refused.Load())
	for c := range customers {
		assert.Equal(t, most, open(t, f, fmt.Sprint("customer-", c, "@example.com")))
	}
	assert.Len(t, outboxtest.Drain(t, f.DB), customers*most)
}

func TestALostCommitDoesNotCountTwice(t *testing.T) {
	for name, c := range map[string]struct{ before, after int32 }{"before it": {2, 0}, "after it": {0, 1}, "after it, and again alone": {0, 3}} {
		t.Run(name, func(t *testing.T) {
			db, loss := mysqltest.Lossy(t, mysqltest.Server(t), schema.Orders)
			f := New()
			f.DB = db
			bounded(t, f, 1)
			loss.Before.Store(c.before)
			loss.After.Store(c.after)
			functiontest.Concurrently(10, func(i int) {
				command := of(fmt.Sprint("customer-", i, "@example.com"), fmt.Sprint("k-", i))
				if i%2 == 0 {
					command.KeyHash = nil
				}
				a, err := f.Create(t.Context(), command)
				assert.NoError(t, err)
				assert.False(t, a.Replayed)
			})
			loss.Before.Store(0)
			loss.After.Store(0)
			assert.Equal(t, 10, mysqltest.Count(t, db, "SELECT COUNT(*) FROM orders"))
			assert.Equal(t, 10, mysqltest.Count(t, db, "SELECT COUNT(*) FROM open_orders"))
		})
	}
}

func TestTheLimitTakesFewStatementsForABatch(t *testing.T) {
	f := bounded(t, New(), 5)
	batch := make([]pending, 64)
	for i := range batch {
		command := of(fmt.Sprint("customer-", i/8, "@example.com"), fmt.Sprint("k-", i))
		p, err := f.prepare(command, command.Order.Fingerprint())
		require.NoError(t, err)
		p.customer = f.customer(t.Context(), command.Order.CustomerEmail)
		batch[i] = p
	}
	var refused []error
	statements := mysqltest.Statements(t, f.DB, func() {
		var err error
		refused, err = f.store(t.Context(), batch, false)
		assert.NoError(t, err)
	})
	assert.LessOrEqual(t, statements, 11)
	for i, err := range refused {
		assert.Equal(t, i%8 >= 5, err != nil, "the first of each customer are taken")
	}
	assert.Len(t, outboxtest.Drain(t, f.DB), 40)
}

func TestALimitOfOpenOrdersThatMeansNothingIsRefused(t *testing.T) {
	for _, text := range []string{"0", "-1", "1001", "few", "1.5"} {
		err := New().Start(context.Background(), map[string]string{"MAX_OPEN_ORDERS": text})
		assert.ErrorContains(t, err, fmt.Sprintf("MAX_OPEN_ORDERS is %q: give how many orders", text))
	}
}
