package authorizepayment

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
)

var at = time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)

// desk is a gateway that records its calls. before, if set, runs before each and can fail it.
type desk struct {
	gateway.Gateway
	before func(call string) error

	mu    sync.Mutex
	calls []string
}

func (d *desk) call(name string) error {
	d.mu.Lock()
	d.calls = append(d.calls, name)
	d.mu.Unlock()
	if d.before == nil {
		return nil
	}
	return d.before(name)
}

func (d *desk) Authorize(ctx context.Context, a gateway.Authorization) (gateway.Answer, error) {
	if err := d.call("authorize " + a.Key); err != nil {
		return gateway.Answer{}, err
	}
	return d.Gateway.Authorize(ctx, a)
}

func (d *desk) Lookup(ctx context.Context, key string) (gateway.Answer, error) {
	if err := d.call("lookup " + key); err != nil {
		return gateway.Answer{}, err
	}
	return d.Gateway.Lookup(ctx, key)
}

// take returns the calls since the last take.
func (d *desk) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

func start(t *testing.T, s gateway.Scenario) (*Function, *desk) {
	t.Helper()
	f, d := New(), &desk{Gateway: gateway.NewSimulated(s)}
	f.UseGateway(d)
	f.Now = func() time.Time { return at }
	return functiontest.Start(t, f, nil), d
}

// created returns an order of an amount.
func created(t *testing.T, amount int64) (events.OrderCreated, event.Event) {
	t.Helper()
	order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: amount})
	return order, functiontest.Event(t, order, 1)
}

// rows returns the order's payment and its log.
func rows(t *testing.T, db *sql.DB, orderID string) (payment, log []string) {
	t.Helper()
	payment = mysqltest.Rows(t, db, "SELECT status, amount, currency, reference, reason, attempts, version, next_attempt_at IS NOT NULL FROM payments WHERE order_id = ?", orderID)
	log = mysqltest.Rows(t, db, "SELECT entry, amount, currency, reference, reason, actor FROM payment_log WHERE order_id = ? ORDER BY id", orderID)
	return payment, log
}

// due ends the waits of all requests.
func due(t *testing.T, db *sql.DB) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "UPDATE payments SET next_attempt_at = NOW(6) WHERE next_attempt_at IS NOT NULL")
	require.NoError(t, err)
}

func tick() event.Event {
	e := event.New()
	e.SetID("tick")
	e.SetSource("/ping")
	e.SetType(base.TickType)
	return e
}

// Version 1 of order.created names no currency: it has that of the deployment.
func TestAuthorizeTakesTheCurrencyOfTheOrderElseItsOwn(t *testing.T) {
	f := New()
	f.UseGateway(gateway.NewSimulated(gateway.Scenario{}))
	functiontest.Start(t, f, map[string]string{"CURRENCY": "CHF"})
	first, second := functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 7}), functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 7})
	second.Currency = "JPY"
	for want, order := range map[string]events.Data{"CHF": first.V1(), "JPY": second} {
		require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, order, 1)))
		emitted := outboxtest.Drain(t, f.DB)
		require.Len(t, emitted, 1)
		fact, err := events.Decode[events.PaymentAuthorized](emitted[0])
		require.NoError(t, err)
		assert.Equal(t, want, fact.Currency)
	}
}

func TestAuthorizeHoldsTheAmountAndCarriesTheItemsOn(t *testing.T) {
	f, d := start(t, gateway.Scenario{})
	order, e := created(t, 1299)

	require.NoError(t, f.Handle(t.Context(), e))

	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.PaymentAuthorized](emitted[0])
	require.NoError(t, err)
	answer, err := d.Gateway.Lookup(t.Context(), gateway.AuthorizationKey(order.OrderID))
	require.NoError(t, err)
	assert.Equal(t, gateway.Answer{Status: gateway.Authorized, Reference: fact.Reference, Amount: 1299, Currency: "EUR"}, answer)
	assert.Equal(t, events.PaymentAuthorized{
		OrderID: order.OrderID, Amount: 1299, Currency: "EUR", Reference: answer.Reference, Items: order.Items, CreatedAt: at,
	}, fact)
	assert.Equal(t, order.OrderID+"#1", emitted[0].ID())
	assert.Equal(t, functiontest.CorrelationID, emitted[0].Extensions()["correlationid"])
	assert.Equal(t, e.ID(), emitted[0].Extensions()["causationid"])
	payment, log := rows(t, f.DB, order.OrderID)
	assert.Equal(t, []string{"AUTHORIZED | 1299 | EUR | " + answer.Reference + " | NULL | 1 | 1 | 0"}, payment)
	assert.Equal(t, []string{"AUTHORIZED | 1299 | EUR | " + answer.Reference + " | NULL | authorize-payment"}, log)
	assert.Equal(t, []string{"authorize " + order.OrderID + ".authorize"}, d.take())
}

func TestADeclineIsAFactWithItsReason(t *testing.T) {
	f, _ := start(t, gateway.Scenario{})
	order, e := created(t, 1002)

	require.NoError(t, f.Handle(t.Context(), e))

	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.PaymentDeclined](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.PaymentDeclined{OrderID: order.OrderID, Amount: 1002, Currency: "EUR", Reason: "insufficient_funds", CreatedAt: at}, fact)
	payment, log := rows(t, f.DB, order.OrderID)
	assert.Equal(t, []string{"DECLINED | 1002 | EUR | NULL | insufficient_funds | 1 | 1 | 0"}, payment)
	assert.Equal(t, []string{"DECLINED | 0 | EUR | NULL | insufficient_funds | authorize-payment"}, log)
}

func TestARedeliveryAsksNothing(t *testing.T) {
	f, d := start(t, gateway.Scenario{})
	order, e := created(t, 1299)
	another := functiontest.Event(t, order, 2) // the same fact under another id
	for _, again := range []event.Event{e, e, another} {
		require.NoError(t, f.Handle(t.Context(), again))
	}
	functiontest.Concurrently(4, func(int) { assert.NoError(t, f.Handle(t.Context(), e)) })

	assert.Len(t, d.take(), 1)
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
	_, log := rows(t, f.DB, order.OrderID)
	assert.Len(t, log, 1)
}

func TestMalformedAndUnknownEventsArePoison(t *testing.T) {
	f, d := start(t, gateway.Scenario{})
	_, e := created(t, 1299)
	functiontest.AssertPoison(t, f.Handle(t.Context(), functiontest.Broken(e)))
	functiontest.AssertPoison(t, f.Handle(t.Context(), functiontest.Golden(t, events.OrderConfirmedType, 2)))
	assert.Empty(t, d.take())
	assert.Empty(t, mysqltest.Rows(t, f.DB, "SELECT order_id FROM payments"))
}

func TestAnAmountOfZeroIsAuthorizedWithoutTheGateway(t *testing.T) {
	f, d := start(t, gateway.Scenario{})
	order, e := created(t, 0)

	require.NoError(t, f.Handle(t.Context(), e))

	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.PaymentAuthorized](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.NoReference, fact.Reference)
	payment, log := rows(t, f.DB, order.OrderID)
	assert.Equal(t, []string{"AUTHORIZED | 0 | EUR | none | NULL | 0 | 1 | 0"}, payment)
	assert.Equal(t, []string{"AUTHORIZED | 0 | EUR | none | NULL | authorize-payment"}, log)
	assert.Empty(t, d.take())
}

var errCut = errors.New("connection reset")

// The answer is lost after the money moved: what became of the key is asked at once, and nothing is sent twice.
func TestALostAnswerIsLookedUpAtOnce(t *testing.T) {
	f, d := start(t, gateway.Scenario{})
	order, e := created(t, 1005)

	require.NoError(t, f.Handle(t.Context(), e))

	assert.Equal(t, []string{"authorize " + order.OrderID + ".authorize", "lookup " + order.OrderID + ".authorize"}, d.take())
	payment, _ := rows(t, f.DB, order.OrderID)
	assert.Contains(t, payment[0], "AUTHORIZED | 1005")
}

// Neither the request nor the lookup gets an answer: the event is handled, since the row is the request, and a tick asks
// again, what became of the key first.
func TestAnUnknownOutcomeIsAskedAboutUntilItIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		arrived bool // whether the request had reached the gateway
		calls   []string
	}{
		"the request had arrived": {true, []string{"lookup"}},
		"it had not":              {false, []string{"lookup", "authorize"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := start(t, gateway.Scenario{})
			order, e := created(t, 1299)
			d.before = func(call string) error {
				if c.arrived && call[:9] == "authorize" {
					_, err := d.Gateway.Authorize(t.Context(), gateway.Authorization{Key: gateway.AuthorizationKey(order.OrderID), OrderID: order.OrderID, Amount: 1299, Currency: "EUR"})
					assert.NoError(t, err)
				}
				return errCut
			}

			require.NoError(t, f.Handle(t.Context(), e))
			require.NoError(t, f.Handle(t.Context(), e))
			payment, log := rows(t, f.DB, order.OrderID)
			assert.Equal(t, []string{"REQUESTED | 1299 | EUR | NULL | NULL | 1 | 0 | 1"}, payment)
			assert.Empty(t, log)
			assert.Equal(t, []string{"connection reset"}, mysqltest.Rows(t, f.DB, "SELECT last_error FROM payments"))
			d.take()
			require.NoError(t, f.Handle(t.Context(), tick()))
			assert.Empty(t, d.take(), "its wait is not over")

			due(t, f.DB)
			require.NoError(t, f.Handle(t.Context(), tick()))
			assert.Len(t, d.take(), 1, "still no answer")
			assert.Empty(t, outboxtest.Drain(t, f.DB))

			d.before = nil
			due(t, f.DB)
			require.NoError(t, f.Handle(t.Context(), tick()))
			var asked []string
			for _, call := range c.calls {
				asked = append(asked, call+" "+order.OrderID+".authorize")
			}
			assert.Equal(t, asked, d.take())
			payment, log = rows(t, f.DB, order.OrderID)
			assert.Contains(t, payment[0], "AUTHORIZED | 1299")
			assert.Contains(t, payment[0], "| 3 | 1 | 0", "three attempts")
			assert.Len(t, log, 1)
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			assert.Equal(t, e.ID(), emitted[0].Extensions()["causationid"], "not the tick")
			require.NoError(t, f.Handle(t.Context(), tick()))
			assert.Empty(t, d.take(), "it is known")
		})
	}
}

// The process dies between the gateway's answer and its commit.
func TestARequestOfADeadProcessIsTakenOver(t *testing.T) {
	f, d := start(t, gateway.Scenario{})
	order, e := created(t, 1299)
	cause, dead := context.WithCancel(t.Context())
	d.before = func(string) error { panic("the process dies") }
	require.NoError(t, f.Handle(cause, e))
	dead()
	payment, _ := rows(t, f.DB, order.OrderID)
	require.Equal(t, []string{"REQUESTED | 1299 | EUR | NULL | NULL | 1 | 0 | 1"}, payment)
	d.before = nil
	d.take()

	require.NoError(t, f.Handle(t.Context(), e), "a duplicate")
	assert.Empty(t, d.take(), "the request is leased")
	due(t, f.DB)
	require.NoError(t, f.Handle(t.Context(), tick()))

	assert.Equal(t, []string{"lookup " + order.OrderID + ".authorize", "authorize " + order.OrderID + ".authorize"}, d.take())
	assert.Equal(t, []string{events.PaymentAuthorizedType}, outboxtest.Types(outboxtest.Drain(t, f.DB)))
}

// Sweeps overlap, and a delivery is under way: each request is taken by one of them, and its outcome recorded once.
func TestSweepsShareTheRequests(t *testing.T) {
	f, d := start(t, gateway.Scenario{})
	d.before = func(string) error { return errCut }
	const count = 150 // more than a sweep claims at once
	es := make([]event.Event, count)
	for n := range es {
		_, es[n] = created(t, 1299)
	}
	for _, err := range functiontest.Together(t.Context(), f, es...) {
		require.NoError(t, err)
	}
	d.before = nil
	d.take()
	due(t, f.DB)

	functiontest.Concurrently(3, func(int) { assert.NoError(t, f.Handle(t.Context(), tick())) })

	calls := d.take()
	slices.Sort(calls)
	assert.Len(t, calls, 2*count, "a lookup and an authorization for each")
	assert.Len(t, slices.Compact(calls), 2*count, "none of them twice")
	assert.Len(t, outboxtest.Drain(t, f.DB), count)
	assert.Equal(t, count, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM payment_log WHERE amount = 1299"))
}

// A gateway that is known to be away is not asked: neither about new orders, nor about all that wait.
func TestAGatewayThatIsAwayIsLeftAlone(t *testing.T) {
	f, d := start(t, gateway.Scenario{})
	d.before = func(string) error { return errCut }
	f.UseGateway(gateway.Guard(d, gateway.Options{Failures: 3, Pause: time.Hour}))
	const count = 100
	for range 3 {
		_, e := created(t, 1299)
		require.NoError(t, f.Handle(t.Context(), e))
	}
	d.take()
	for range count {
		_, e := created(t, 1299)
		require.NoError(t, f.Handle(t.Context(), e))
	}
	free, e := created(t, 0)
	require.NoError(t, f.Handle(t.Context(), e))
	due(t, f.DB)
	require.NoError(t, f.Handle(t.Context(), tick()))

	assert.Empty(t, d.take())
	assert.Equal(t, count+3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM payments WHERE status = 'REQUESTED' AND next_attempt_at IS NOT NULL"))
	payment, _ := rows(t, f.DB, free.OrderID)
	assert.Contains(t, payment[0], "AUTHORIZED | 0", "it needs no gateway")
}

// The gateway takes 50 ms for each of 200 orders: they wait for it at the same time.
func TestOrdersWaitForTheGatewayTogether(t *testing.T) {
	f, _ := start(t, gateway.Scenario{Latency: 50 * time.Millisecond})
	es := make([]event.Event, 200)
	for n := range es {
		_, es[n] = created(t, 1299)
	}
	begin := time.Now()
	for _, err := range functiontest.Together(t.Context(), f, es...) {
		assert.NoError(t, err)
	}
	assert.Less(t, time.Since(begin), 200*50*time.Millisecond/4)
	assert.Equal(t, len(es), mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM payments WHERE status = 'AUTHORIZED'"))
}

func TestAnAnswerAboutAnotherAmountIsNotTaken(t *testing.T) {
	f, _ := start(t, gateway.Scenario{})
	f.UseGateway(wrong{})
	order, e := created(t, 1299)
	require.NoError(t, f.Handle(t.Context(), e))
	payment, log := rows(t, f.DB, order.OrderID)
	assert.Contains(t, payment[0], "REQUESTED | 1299")
	assert.Empty(t, log)
	assert.Contains(t, mysqltest.Rows(t, f.DB, "SELECT last_error FROM payments")[0], "about 1300 EUR, and the request about 1299 EUR")
}

// wrong is a gateway that holds another amount than it was asked for.
type wrong struct{ gateway.Gateway }

func (wrong) Authorize(_ context.Context, a gateway.Authorization) (gateway.Answer, error) {
	return gateway.Answer{Status: gateway.Authorized, Reference: "auth", Amount: a.Amount + 1, Currency: a.Currency}, nil
}

func TestStartRefusesWhatItCannotUse(t *testing.T) {
	for name, config := range map[string]map[string]string{
		"a currency": {"CURRENCY": "euro"},
		"a gateway":  {"PAYMENT_GATEWAY": "cash"},
		"no server":  {},
	} {
		t.Run(name, func(t *testing.T) {
			f := New()
			assert.Error(t, f.Start(t.Context(), config))
			assert.NoError(t, f.Stop(context.Background()))
		})
	}
}
