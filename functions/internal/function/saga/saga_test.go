package saga_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/expireorders"
	"example.com/orders/functions/finalizeorder"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// services has the functions that change an order, on one schema.
type services struct {
	db       *sql.DB
	create   *createorder.Function
	cancel   *cancelorder.Function
	finalize *finalizeorder.Function
	expire   *expireorders.Function
}

func start(t *testing.T) services {
	t.Helper()
	return startOn(t, mysqltest.Open(t, schema.Orders))
}

func startOn(t *testing.T, db *sql.DB) services {
	t.Helper()
	s := services{db, createorder.New(), cancelorder.New(), finalizeorder.New(), expireorders.New()}
	// By the clock of expire-orders every order is late.
	s.expire.Now = func() time.Time { return time.Now().UTC().Add(time.Hour) }
	for _, f := range []functiontest.Function{s.create, s.cancel, s.finalize, s.expire} {
		f.Shared().DB = s.db
		f.Shared().Log = slog.New(slog.DiscardHandler)
		functiontest.Start(t, f, nil)
	}
	return s
}

// bothWays runs a test with functions in processes of their own, and in one that remembers the orders that it has accepted.
func bothWays(t *testing.T, test func(*testing.T, services)) {
	t.Helper()
	t.Run("in processes of their own", func(t *testing.T) { test(t, start(t)) })
	t.Run("in one process", func(t *testing.T) {
		s := start(t)
		s.remember()
		test(t, s)
	})
}

// remember makes the functions share a memory, as in one process.
func (s services) remember() {
	s.create.Recent = saga.NewRecent()
	s.finalize.Recent = s.create.Recent
}

// atTheRow is a part of the statements that wait for the row of an order.
const atTheRow = "orders FORCE INDEX (PRIMARY)"

func (s services) place(t *testing.T) (orderID string) {
	t.Helper()
	accepted, err := s.create.Create(t.Context(), createorder.Command{
		Order: events.CreateOrder{CustomerEmail: "alice@example.com", Items: []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}}},
		Cause: events.Cause{CorrelationID: "flow-1"},
	})
	require.NoError(t, err)
	return accepted.OrderID
}

// steps has the changes that may happen to an order, with the status that each leads to if it comes first.
var steps = map[string]struct {
	to orders.OrdersStatus
	do func(ctx context.Context, s services, orderID string) error
}{
	"cancel": {orders.OrdersStatusCANCELED, func(ctx context.Context, s services, orderID string) error {
		_, err := s.cancel.Handle(ctx, made(events.OrderCancelType, "/desk", orderID, `{"orderId":"`+orderID+`"}`))
		return err
	}},
	"reserved": {orders.OrdersStatusCONFIRMED, func(ctx context.Context, s services, orderID string) error {
		return s.finalize.Handle(ctx, made(events.InventoryReservedType, events.InventorySource, orderID,
			`{"eventType":"inventory.reserved","version":1,"orderId":"`+orderID+`","reservations":[{"sku":"SKU-123","quantity":2}]}`))
	}},
	"rejected": {orders.OrdersStatusFAILED, func(ctx context.Context, s services, orderID string) error {
		return s.finalize.Handle(ctx, made(events.InventoryRejectedType, events.InventorySource, orderID,
			`{"eventType":"inventory.rejected","version":1,"orderId":"`+orderID+`","reason":"out_of_stock",
			"shortages":[{"sku":"SKU-123","requested":2,"available":1}],"createdAt":"2026-11-25T12:00:00Z"}`))
	}},
	"expire": {orders.OrdersStatusFAILED, func(ctx context.Context, s services, orderID string) error {
		return s.expire.Handle(ctx, made(base.TickType, "/ping", orderID, ""))
	}},
}

// made returns an event of any type about an order; its type makes its id unique.
func made(eventType, source, orderID, data string) event.Event {
	e := event.New()
	e.SetID(orderID + "#" + eventType)
	e.SetSource(source)
	e.SetType(eventType)
	e.SetSubject(orderID)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(data)
	return e
}

// after returns the expected facts and status after a sequence of steps: the first step decides, and a confirmed order may
// still be canceled.
func after(sequence ...string) (emitted []string, status orders.OrdersStatus) {
	emitted, status = []string{events.OrderCreatedType}, orders.OrdersStatusPENDING
	for _, step := range sequence {
		to := steps[step].to
		if status != orders.OrdersStatusPENDING && (status != orders.OrdersStatusCONFIRMED || step != "cancel") {
			continue
		}
		status = to
		emitted = append(emitted, "order."+strings.ToLower(string(to)))
	}
	return emitted, status
}

// assertNumbered asserts that the facts of an order count from 1 without a gap and agree with its row.
func assertNumbered(t *testing.T, s services, orderID string, emitted []event.Event) {
	t.Helper()
	for i, fact := range emitted {
		assert.Equal(t, fmt.Sprintf("%s#%d", orderID, i+1), fact.ID())
		assert.Equal(t, orderID, fact.Subject())
	}
	assert.Equal(t, len(emitted), functiontest.Stored(t, s.db, orderID).Version)
}

func permutations(rest []string) [][]string {
	if len(rest) == 0 {
		return [][]string{nil}
	}
	var all [][]string
	for i, first := range rest {
		others := append(append([]string{}, rest[:i]...), rest[i+1:]...)
		for _, tail := range permutations(others) {
			all = append(all, append([]string{first}, tail...))
		}
	}
	return all
}

func TestEveryOrderOfStepsEndsInALegalState(t *testing.T) {
	bothWays(t, func(t *testing.T, s services) {
		t.Helper()
		for _, sequence := range permutations([]string{"cancel", "reserved", "rejected", "expire"}) {
			t.Run(strings.Join(sequence, " "), func(t *testing.T) {
				orderID := s.place(t)
				for _, step := range sequence {
					for range 2 { // each is delivered twice
						require.NoError(t, steps[step].do(t.Context(), s, orderID))
					}
				}
				wantEmitted, wantStatus := after(sequence...)
				emitted := outboxtest.Drain(t, s.db)
				assert.Equal(t, wantEmitted, outboxtest.Types(emitted))
				assert.Equal(t, wantStatus, functiontest.Stored(t, s.db, orderID).Status)
				assertNumbered(t, s, orderID, emitted)
			})
		}
	})
}

func TestTwoStepsThatMeetAtTheOrderEndAsOneAfterTheOther(t *testing.T) {
	bothWays(t, func(t *testing.T, s services) {
		t.Helper()
		for _, pair := range permutations([]string{"cancel", "reserved", "rejected", "expire"}) {
			if pair[2] > pair[3] {
				continue // the two steps that are left out have no order
			}
			first, second := pair[0], pair[1]
			t.Run(first+" and then "+second, func(t *testing.T) {
				orderID := s.place(t)
				holder, err := s.db.BeginTx(t.Context(), transaction.ReadCommitted)
				require.NoError(t, err)
				defer func() { _ = holder.Rollback() }() // without effect after the commit below
				_, err = orders.New(holder).LockOrders(t.Context(), []string{orderID})
				require.NoError(t, err)
				done := make(chan error, 2)
				for waiting, step := range []string{first, second} {
					go func() { done <- steps[step].do(t.Context(), s, orderID) }()
					servertest.AwaitRunning(t, s.db, atTheRow, waiting+1)
				}

				require.NoError(t, holder.Commit())
				require.NoError(t, <-done)
				require.NoError(t, <-done)

				emitted := outboxtest.Drain(t, s.db)
				assertNumbered(t, s, orderID, emitted)
				status := functiontest.Stored(t, s.db, orderID).Status
				// The server chooses which of two waiting transactions continues first.
				forward, forwardStatus := after(first, second)
				backward, backwardStatus := after(second, first)
				assert.Contains(t, [][]string{forward, backward}, outboxtest.Types(emitted))
				assert.Contains(t, []orders.OrdersStatus{forwardStatus, backwardStatus}, status)
			})
		}
	})
}

// The first one has done its work and is about to commit when the second one starts.
func TestAStepThatComesBeforeTheCommitOfAnotherSeesIt(t *testing.T) {
	bothWays(t, func(t *testing.T, s services) {
		t.Helper()
		for _, pair := range permutations([]string{"cancel", "reserved", "rejected", "expire"}) {
			if pair[2] > pair[3] {
				continue
			}
			first, second := pair[0], pair[1]
			t.Run(first+" and then "+second, func(t *testing.T) {
				orderID := s.place(t)
				done := make(chan error, 1)
				require.NoError(t, transaction.Once(t.Context(), s.db, func(ctx context.Context, tx *transaction.Tx) error {
					applied, err := saga.Apply(ctx, tx, change(orderID, steps[first].to))
					require.NoError(t, err)
					require.Len(t, applied[0].Facts, 1)
					go func() { done <- steps[second].do(t.Context(), s, orderID) }()
					servertest.AwaitRunning(t, s.db, atTheRow, 1)
					return nil
				}))
				require.NoError(t, <-done)

				_, want := after(first, second)
				row := functiontest.Stored(t, s.db, orderID)
				assert.Equal(t, want, row.Status)
				emitted := outboxtest.Drain(t, s.db) // without the fact of the first one, which was not stored
				if want == steps[first].to {
					assert.Equal(t, 2, row.Version)
					assert.Equal(t, []string{events.OrderCreatedType}, outboxtest.Types(emitted))
				} else {
					assert.Equal(t, 3, row.Version)
					require.Len(t, emitted, 2)
					assert.Equal(t, orderID+"#3", emitted[1].ID())
				}
			})
		}
	})
}

func change(orderID string, to orders.OrdersStatus) saga.Change {
	at := time.Now()
	return saga.Change{
		OrderID: orderID, To: to, At: at,
		Fact: func(o saga.Order) events.Data {
			return events.OrderConfirmed{OrderID: o.ID, CustomerEmail: o.CustomerEmail, TotalAmount: o.TotalAmount, CreatedAt: at}
		},
	}
}

func TestAllStepsAtTheSameTimeEndInALegalState(t *testing.T) {
	bothWays(t, func(t *testing.T, s services) {
		t.Helper()
		var names []string
		for name := range steps {
			names = append(names, name)
		}
		for range 10 {
			orderID := s.place(t)
			functiontest.Concurrently(3*len(names), func(i int) {
				assert.NoError(t, steps[names[i%len(names)]].do(t.Context(), s, orderID))
			})
			emitted := outboxtest.Drain(t, s.db)
			assertNumbered(t, s, orderID, emitted)
			status := functiontest.Stored(t, s.db, orderID).Status
			legal := map[string]orders.OrdersStatus{}
			for _, sequence := range permutations(names) {
				types, end := after(sequence...)
				legal[strings.Join(types, " ")] = end
			}
			assert.Equal(t, legal[strings.Join(outboxtest.Types(emitted), " ")], status)
		}
	})
}

func TestApplyMovesAnOrderOnOnlyAlongTheRules(t *testing.T) {
	all := []orders.OrdersStatus{orders.OrdersStatusPENDING, orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED}
	allowed := map[orders.OrdersStatus][]orders.OrdersStatus{
		orders.OrdersStatusPENDING:   all[1:],
		orders.OrdersStatusCONFIRMED: {orders.OrdersStatusCANCELED},
	}
	db := mysqltest.Open(t, schema.Orders)
	for _, from := range all {
		for _, to := range all {
			t.Run(string(from)+" to "+string(to), func(t *testing.T) {
				orderID := functiontest.OrderID()
				functiontest.Order(t, db, orderID, from)
				stored := functiontest.Stored(t, db, orderID)
				asked := change(orderID, to)
				asked.Cause = events.Cause{CausationID: "cause-1"}

				applied := apply(t, db, asked)

				fact := applied[0].Facts
				assert.Equal(t, from, applied[0].Before.Status)
				if !slices.Contains(allowed[from], to) {
					assert.Empty(t, fact)
					assert.Equal(t, stored, functiontest.Stored(t, db, orderID))
					return
				}
				require.Len(t, fact, 1)
				assert.Equal(t, fmt.Sprintf("%s#%d", orderID, stored.Version+1), fact[0].ID())
				assert.Equal(t, functiontest.OrderCorrelationID, fact[0].Extensions()["correlationid"], "without its own correlation id it continues the order's")
				assert.Equal(t, "cause-1", fact[0].Extensions()["causationid"])
				assert.Equal(t, to, functiontest.Stored(t, db, orderID).Status)
			})
		}
	}
}

func TestApplyReportsAnUnknownOrder(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	known := functiontest.OrderID()
	functiontest.Order(t, db, known, orders.OrdersStatusPENDING)
	require.ErrorIs(t, transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
		_, err := saga.Apply(ctx, tx, change(known, orders.OrdersStatusCONFIRMED), change(functiontest.OrderID(), orders.OrdersStatusCONFIRMED))
		return err
	}), saga.ErrUnknownOrder)
	assert.Equal(t, orders.OrdersStatusPENDING, functiontest.Stored(t, db, known).Status)
}

func apply(t *testing.T, db *sql.DB, changes ...saga.Change) (applied []saga.Applied) {
	t.Helper()
	require.NoError(t, transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) (err error) {
		applied, err = saga.Apply(ctx, tx, changes...)
		return err
	}))
	return applied
}

func TestOfTwoChangesOfAnOrderTheFirstCounts(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	twice, once := functiontest.OrderID(), functiontest.OrderID()
	functiontest.Order(t, db, twice, orders.OrdersStatusPENDING)
	functiontest.Order(t, db, once, orders.OrdersStatusPENDING)
	first, second, other := change(twice, orders.OrdersStatusFAILED), change(twice, orders.OrdersStatusFAILED), change(once, orders.OrdersStatusFAILED)
	first.Reason, second.Reason, other.Reason = "out_of_stock", "unknown_sku", "unknown_sku"

	applied := apply(t, db, first, second, other)

	assert.Len(t, applied[0].Facts, 1)
	assert.Empty(t, applied[1].Facts)
	assert.Equal(t, orders.OrdersStatusFAILED, applied[1].Before.Status)
	assert.Len(t, applied[2].Facts, 1)
	for id, reason := range map[string]string{twice: "out_of_stock", once: "unknown_sku"} {
		row := functiontest.Stored(t, db, id)
		assert.Equal(t, reason, *row.FailureReason)
		assert.Equal(t, 2, row.Version)
	}
}
