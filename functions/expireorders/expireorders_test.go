package expireorders

import (
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// idAt returns the id of an order created at t.
func idAt(t time.Time) string {
	id := uuid.Must(uuid.NewV7())
	milliseconds := t.UnixMilli()
	for i := range 6 {
		id[5-i] = byte(milliseconds >> (8 * i))
	}
	return id.String()
}

func tick(id string) event.Event {
	e := event.New()
	e.SetType(base.TickType)
	e.SetSource("/apis/v1/namespaces/default/pingsources/expire-orders")
	e.SetID(id)
	return e
}

func start(t *testing.T) *Function {
	t.Helper()
	f := New()
	f.Now = func() time.Time { return noon }
	return functiontest.Start(t, f, map[string]string{"SAGA_TIMEOUT": "10m"})
}

func order(t *testing.T, f *Function, age time.Duration, status orders.OrdersStatus) (id string) {
	t.Helper()
	id = idAt(noon.Add(-age))
	functiontest.Order(t, f.DB, id, status)
	return id
}

func TestExpireFailsPendingOrdersThatAreOlderThanTheTimeout(t *testing.T) {
	f := start(t)
	late := order(t, f, 10*time.Minute+time.Millisecond, orders.OrdersStatusPENDING)
	young := order(t, f, 10*time.Minute, orders.OrdersStatusPENDING)

	require.NoError(t, f.Handle(t.Context(), tick("1")))

	row := functiontest.Stored(t, f.DB, late)
	assert.Equal(t, orders.OrdersStatusFAILED, row.Status)
	require.NotNil(t, row.FailureReason)
	assert.Equal(t, events.ReasonTimeout, *row.FailureReason)
	assert.Equal(t, noon, row.UpdatedAt)
	assert.Equal(t, orders.OrdersStatusPENDING, functiontest.Stored(t, f.DB, young).Status)
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderFailed](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.OrderFailed{OrderID: late, CustomerEmail: "alice@example.com", Reason: events.ReasonTimeout, CreatedAt: noon}, fact)
	assert.Equal(t, late+"#2", emitted[0].ID())
	assert.Equal(t, functiontest.OrderCorrelationID, emitted[0].Extensions()["correlationid"])
}

func TestExpireLeavesEndedOrders(t *testing.T) {
	f := start(t)
	before := map[string]orders.GetOrderRow{}
	for _, status := range []orders.OrdersStatus{orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED} {
		id := order(t, f, time.Hour, status)
		before[id] = functiontest.Stored(t, f.DB, id)
	}

	require.NoError(t, f.Handle(t.Context(), tick("1")))

	for id, row := range before {
		assert.Equal(t, row, functiontest.Stored(t, f.DB, id))
	}
	assert.Empty(t, outboxtest.Drain(t, f.DB))
}

func TestExpireEndsMoreOrdersThanOneLookFinds(t *testing.T) {
	f := start(t)
	for range 2*page + 1 {
		order(t, f, time.Hour, orders.OrdersStatusPENDING)
	}

	require.NoError(t, f.Handle(t.Context(), tick("1")))

	assert.Equal(t, 2*page+1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE status = 'FAILED' AND version = 2"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 2*page+1)
}

func TestExpireIgnoresRedeliveredAndOverlappingTicks(t *testing.T) {
	f := start(t)
	for range 20 {
		order(t, f, time.Hour, orders.OrdersStatusPENDING)
	}

	functiontest.Concurrently(4, func(int) { assert.NoError(t, f.Handle(t.Context(), tick("1"))) })
	require.NoError(t, f.Handle(t.Context(), tick("1")))

	assert.Equal(t, 20, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE status = 'FAILED' AND version = 2"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 20)
}

func TestExpireHeedsEveryTickAndNotOnlyTheFirst(t *testing.T) {
	f := start(t)
	require.NoError(t, f.Handle(t.Context(), tick("1")))
	late := order(t, f, time.Hour, orders.OrdersStatusPENDING)
	require.NoError(t, f.Handle(t.Context(), tick("1")))
	assert.Equal(t, orders.OrdersStatusFAILED, functiontest.Stored(t, f.DB, late).Status)
}

func TestExpireTakesTicksWhateverTheirData(t *testing.T) {
	f := start(t)
	late := order(t, f, time.Hour, orders.OrdersStatusPENDING)
	require.NoError(t, f.Handle(t.Context(), functiontest.Broken(tick("1"))))
	assert.Equal(t, orders.OrdersStatusFAILED, functiontest.Stored(t, f.DB, late).Status)
}

func TestExpireRefusesOtherTypes(t *testing.T) {
	f := start(t)
	late := order(t, f, time.Hour, orders.OrdersStatusPENDING)
	e := tick("1")
	e.SetType("order.create")
	functiontest.AssertPoison(t, f.Handle(t.Context(), e))
	assert.Equal(t, orders.OrdersStatusPENDING, functiontest.Stored(t, f.DB, late).Status)
}

func TestExpireReadsItsTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		want   time.Duration
	}{
		"not set":    {"", 15 * time.Minute},
		"set":        {"90s", 90 * time.Second},
		"no unit":    {"15", 0},
		"zero":       {"0s", 0},
		"negative":   {"-1m", 0},
		"not a time": {"soon", 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := New()
			err := f.Start(t.Context(), map[string]string{"SAGA_TIMEOUT": c.config, "MYSQL_DSN": "root@tcp(127.0.0.1:1)/"})
			if c.want == 0 {
				require.ErrorContains(t, err, "SAGA_TIMEOUT")
			} else {
				require.NoError(t, err)
				assert.Equal(t, c.want, f.Timeout)
			}
			require.NoError(t, f.Stop(t.Context()))
		})
	}
}
