package functions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/inventoryapi"
	"example.com/orders/functions/releasestock"
	"example.com/orders/functions/reservestock"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// warehouse has the functions of the inventory schema, on one schema and one pool.
type warehouse struct {
	db      *sql.DB
	api     *inventoryapi.Function
	reserve *reservestock.Function
	release *releasestock.Function
}

func openWarehouse(t *testing.T) warehouse {
	t.Helper()
	w := warehouse{mysqltest.Open(t, schema.Inventory), inventoryapi.New(), reservestock.New(), releasestock.New()}
	for _, f := range []functiontest.Function{w.api, w.reserve, w.release} {
		f.Shared().DB = w.db
		f.Shared().Log = slog.New(slog.DiscardHandler)
		functiontest.Start(t, f, nil)
	}
	return w
}

// send sends a request with a JSON body to the API and returns the status.
func (w warehouse) send(ctx context.Context, method, path, body string) int {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.api.Handle(answer, r)
	return answer.Code
}

func (w warehouse) set(t *testing.T, sku string, available int) {
	t.Helper()
	require.Equal(t, http.StatusCreated, w.send(t.Context(), http.MethodPut, "/api/inventory/"+sku, fmt.Sprintf(`{"availableQty":%d}`, available)))
}

// assertExplained asserts that the logs explain every unit and every change of a SKU.
func (w warehouse) assertExplained(t *testing.T, sku string) (available, reserved int) {
	t.Helper()
	var version int
	require.NoError(t, w.db.QueryRowContext(t.Context(), "SELECT available_qty, reserved_qty, version FROM inventory WHERE sku = ?", sku).
		Scan(&available, &reserved, &version))
	var stocked, stockings, held, moves int
	require.NoError(t, w.db.QueryRowContext(t.Context(), "SELECT SUM(delta), COUNT(*) FROM stock_log WHERE sku = ?", sku).Scan(&stocked, &stockings))
	require.NoError(t, w.db.QueryRowContext(t.Context(), "SELECT COALESCE(SUM(delta_reserved), 0), COUNT(*) FROM reservation_log WHERE sku = ? AND delta_reserved <> 0", sku).
		Scan(&held, &moves))
	assert.Equal(t, stocked, available+reserved, "the units of %s", sku)
	assert.Equal(t, held, reserved, "the reserved units of %s", sku)
	assert.Equal(t, stockings+moves, version, "the changes of %s", sku)
	assert.GreaterOrEqual(t, available, 0)
	assert.GreaterOrEqual(t, reserved, 0)
	return available, reserved
}

func ended(t *testing.T, orderID, by string) event.Event {
	t.Helper()
	if by == events.OrderFailedType {
		return functiontest.Event(t, events.OrderFailed{OrderID: orderID, CustomerEmail: "alice@example.com", Reason: events.ReasonTimeout, CreatedAt: time.Now()}, 2)
	}
	return functiontest.Event(t, events.OrderCanceled{OrderID: orderID, CustomerEmail: "alice@example.com", PreviousStatus: events.StatusPending, CreatedAt: time.Now()}, 2)
}

// handled runs a reaction in the background and returns a channel for its error.
func handled(ctx context.Context, handle func(context.Context, event.Event) error, e event.Event) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- handle(ctx, e) }()
	return answer
}

// pausing returns a clock that blocks its reader once, while the reader holds the order's row, until the test releases it. A
// reaction reads the clock last for the events that it stores, after all writes and before the commit.
func (w warehouse) pausing(ctx context.Context, orderID string) (now func() time.Time, reached, goOn chan struct{}) {
	reached, goOn = make(chan struct{}), make(chan struct{})
	var once sync.Once
	return func() time.Time {
		var one int
		err := w.db.QueryRowContext(ctx, "SELECT 1 FROM reservations WHERE order_id = ? FOR UPDATE NOWAIT", orderID).Scan(&one)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			once.Do(func() {
				close(reached)
				<-goOn
			})
		}
		return time.Now().UTC().Truncate(time.Microsecond)
	}, reached, goOn
}

// rejectOne lets reserve-stock reject an order an hour ahead, so that it decides about all later ones under the locks.
func (w warehouse) rejectOne(t *testing.T) {
	t.Helper()
	w.reserve.Now = func() time.Time { return time.Now().Add(time.Hour) }
	order := functiontest.Created(t, events.Item{SKU: "NONE", Quantity: 1, UnitPrice: 1})
	require.NoError(t, w.reserve.Handle(t.Context(), functiontest.Event(t, order, 1)))
	require.Equal(t, []string{events.InventoryRejectedType}, outboxtest.Types(outboxtest.Drain(t, w.db)))
}

// The first one has written everything but not committed when the second one starts and waits for it.
func TestReserveAndReleaseOfOneOrderMeet(t *testing.T) {
	for _, by := range []string{events.OrderCanceledType, events.OrderFailedType} {
		for name, c := range map[string]struct {
			reserveFirst bool
			emitted      []string
		}{
			"what was reserved first is released":     {true, []string{events.InventoryReservedType, events.InventoryReleasedType}},
			"what was released first is not reserved": {false, []string{}},
		} {
			t.Run(by+": "+name, func(t *testing.T) {
				w := openWarehouse(t)
				w.set(t, "A", 10)
				w.rejectOne(t)
				order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 4, UnitPrice: 1})
				reserve, release := functiontest.Event(t, order, 1), ended(t, order.OrderID, by)
				now, reached, goOn := w.pausing(t.Context(), order.OrderID)
				var first, second <-chan error

				if c.reserveFirst {
					w.reserve.Now = now
					first = handled(t.Context(), w.reserve.Handle, reserve)
				} else {
					w.release.Now = now
					first = handled(t.Context(), w.release.Handle, release)
				}
				select {
				case <-reached:
				case err := <-first:
					require.Fail(t, "the first one was not stopped", "%v", err)
				}
				require.Zero(t, w.statuses(t, order.OrderID), "nothing is committed yet")
				if c.reserveFirst {
					second = handled(t.Context(), w.release.Handle, release)
				} else {
					second = handled(t.Context(), w.reserve.Handle, reserve)
				}
				servertest.AwaitRunning(t, w.db, "OpenReservation", 1)
				close(goOn)
				require.NoError(t, <-first)
				require.NoError(t, <-second)

				w.assertReleased(t, order.OrderID, c.emitted)
			})
		}
	}
}

// An order that comes alone is reserved in one round trip, in which it waits for the row of its SKU when the release starts.
func TestTakingAndReleaseOfOneOrderMeet(t *testing.T) {
	w := openWarehouse(t)
	w.set(t, "A", 10)
	order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 4, UnitPrice: 1})
	holder, err := w.db.BeginTx(t.Context(), transaction.ReadCommitted)
	require.NoError(t, err)
	_, err = holder.ExecContext(t.Context(), "SELECT sku FROM inventory WHERE sku = 'A' FOR UPDATE")
	require.NoError(t, err)

	first := handled(t.Context(), w.reserve.Handle, functiontest.Event(t, order, 1))
	servertest.AwaitRunning(t, w.db, "TakeStock", 1)
	second := handled(t.Context(), w.release.Handle, ended(t, order.OrderID, events.OrderCanceledType))
	servertest.AwaitRunning(t, w.db, "OpenReservation", 1)
	require.NoError(t, holder.Rollback())
	require.NoError(t, <-first)
	require.NoError(t, <-second)

	w.assertReleased(t, order.OrderID, []string{events.InventoryReservedType, events.InventoryReleasedType}, []string{})
}

// statuses is the number of rows of an order in reservations.
func (w warehouse) statuses(t *testing.T, orderID string) int {
	t.Helper()
	return mysqltest.Count(t, w.db, "SELECT COUNT(*) FROM reservations WHERE order_id = ?", orderID)
}

// assertReleased asserts that an order, of SKU A, holds nothing, and that one of some lists of facts was emitted.
func (w warehouse) assertReleased(t *testing.T, orderID string, emitted ...[]string) {
	t.Helper()
	assert.Contains(t, emitted, outboxtest.Types(outboxtest.Drain(t, w.db)))
	available, reserved := w.assertExplained(t, "A")
	assert.Equal(t, [2]int{10, 0}, [2]int{available, reserved})
	assert.Equal(t, 1, mysqltest.Count(t, w.db, "SELECT COUNT(*) FROM reservations WHERE order_id = ? AND status = 'RELEASED'", orderID))
}

// Both stop at the order's row and continue at once: either may be first, and a deadlock between them is retried.
func TestReserveAndReleaseThatWaitForTheSameRowLeaveNothingReserved(t *testing.T) {
	for name, reserveFirst := range map[string]bool{"the reservation came first": true, "the release came first": false} {
		t.Run(name, func(t *testing.T) {
			w := openWarehouse(t)
			w.set(t, "A", 10)
			order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 4, UnitPrice: 1})
			holder, err := w.db.BeginTx(t.Context(), transaction.ReadCommitted)
			require.NoError(t, err)
			_, err = holder.ExecContext(t.Context(), "INSERT INTO reservations (order_id, status, version, created_at, updated_at) VALUES (?, 'PENDING', 0, NOW(6), NOW(6))", order.OrderID)
			require.NoError(t, err)
			start := []func() <-chan error{
				func() <-chan error { return handled(t.Context(), w.reserve.Handle, functiontest.Event(t, order, 1)) },
				func() <-chan error {
					return handled(t.Context(), w.release.Handle, ended(t, order.OrderID, events.OrderCanceledType))
				},
			}
			if !reserveFirst {
				start[0], start[1] = start[1], start[0]
			}
			first := start[0]()
			servertest.AwaitRunning(t, w.db, "INSERT INTO reservations", 1)
			second := start[1]()
			servertest.AwaitRunning(t, w.db, "INSERT INTO reservations", 2)
			require.NoError(t, holder.Rollback())
			require.NoError(t, <-first)
			require.NoError(t, <-second)

			w.assertReleased(t, order.OrderID, []string{events.InventoryReservedType, events.InventoryReleasedType}, []string{})
		})
	}
}

func TestCanceledWhileReservingManyOrdersLeaveNothingReserved(t *testing.T) {
	w := openWarehouse(t)
	w.set(t, "A", 1000)
	w.set(t, "B", 1000)
	const placed = 60
	functiontest.Concurrently(placed, func(i int) {
		order := functiontest.Created(t, events.Item{SKU: "B", Quantity: 1, UnitPrice: 1}, events.Item{SKU: "A", Quantity: 2, UnitPrice: 1})
		reserve := handled(t.Context(), w.reserve.Handle, functiontest.Event(t, order, 1))
		release := handled(t.Context(), w.release.Handle, ended(t, order.OrderID, []string{events.OrderCanceledType, events.OrderFailedType}[i%2]))
		assert.NoError(t, <-reserve)
		assert.NoError(t, <-release)
	})
	for _, sku := range []string{"A", "B"} {
		available, reserved := w.assertExplained(t, sku)
		assert.Equal(t, [2]int{1000, 0}, [2]int{available, reserved})
	}
	emitted := map[string]int{}
	for _, e := range outboxtest.Drain(t, w.db) {
		emitted[e.Type()]++
	}
	assert.Equal(t, emitted[events.InventoryReservedType], emitted[events.InventoryReleasedType])
	assert.Equal(t, placed, mysqltest.Count(t, w.db, "SELECT COUNT(*) FROM reservations WHERE status = 'RELEASED'"))
}

func TestTheLogsExplainEveryUnitWhenStockChangesWhileOrdersReserve(t *testing.T) {
	w := openWarehouse(t)
	w.set(t, "A", 20)
	w.set(t, "B", 20)
	const placed, restocked = 100, 60
	order := func() event.Event {
		return functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "B", Quantity: 1, UnitPrice: 1}, events.Item{SKU: "A", Quantity: 2, UnitPrice: 1}), 1)
	}
	// One order before the others, which may all come when a PUT has left too few units.
	require.NoError(t, w.reserve.Handle(t.Context(), order()))
	functiontest.Concurrently(placed+restocked, func(i int) {
		if i >= placed {
			sku := []string{"A", "B"}[i%2]
			var status int
			switch i % 6 {
			case 0, 1:
				status = w.send(t.Context(), http.MethodPut, "/api/inventory/"+sku, fmt.Sprintf(`{"availableQty":%d}`, i%7))
			case 2, 3:
				status = w.send(t.Context(), http.MethodPost, "/api/inventory/"+sku+"/adjustments", `{"delta":4,"reason":"delivered"}`)
			default:
				status = w.send(t.Context(), http.MethodPost, "/api/inventory/"+sku+"/adjustments", `{"delta":-3,"reason":"broken"}`)
			}
			assert.Contains(t, []int{http.StatusOK, http.StatusConflict}, status)
			return
		}
		e := order()
		if !assert.NoError(t, w.reserve.Handle(t.Context(), e)) {
			return
		}
		if i%4 == 0 {
			assert.NoError(t, w.release.Handle(t.Context(), ended(t, e.Subject(), events.OrderCanceledType)))
		}
	})

	emitted := map[string]map[string]int64{"A": {}, "B": {}}
	for _, e := range outboxtest.Drain(t, w.db) {
		switch e.Type() {
		case events.InventoryReservedType:
			fact, err := events.Decode[events.InventoryReserved](e)
			require.NoError(t, err)
			for _, q := range fact.Reservations {
				emitted[q.SKU][e.Type()] += q.Quantity
			}
		case events.InventoryReleasedType:
			fact, err := events.Decode[events.InventoryReleased](e)
			require.NoError(t, err)
			for _, q := range fact.Releases {
				emitted[q.SKU][e.Type()] += q.Quantity
			}
		}
	}
	for sku, units := range emitted {
		_, reserved := w.assertExplained(t, sku)
		assert.Positive(t, units[events.InventoryReservedType])
		assert.EqualValues(t, units[events.InventoryReservedType]-units[events.InventoryReleasedType], reserved, "the emitted units of %s", sku)
	}
	assert.Zero(t, mysqltest.Count(t, w.db, "SELECT COUNT(*) FROM stock_log WHERE available_after < 0 OR reserved_after < 0"))
	assert.Equal(t, 1+placed, mysqltest.Count(t, w.db, "SELECT COUNT(*) FROM reservations WHERE status <> 'PENDING'"))
}
