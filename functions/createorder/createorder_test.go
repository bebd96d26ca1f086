package createorder

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

func wanted(quantity int64) events.CreateOrder {
	return events.CreateOrder{CustomerEmail: "alice@example.com", Items: []events.Item{{SKU: "SKU-123", Quantity: quantity, UnitPrice: 1299}}}
}

func keyed(key string, quantity int64) Command {
	return Command{Order: wanted(quantity), KeyHash: KeyHash(key), Cause: events.Cause{CorrelationID: "flow-1"}}
}

func TestCreateStoresTheOrderWithItsFact(t *testing.T) {
	f := New()
	now := time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)
	f.Now = func() time.Time { return now }
	var log bytes.Buffer
	f.Log = slog.New(slog.NewJSONHandler(&log, nil))
	var woken []uint8
	f.Poke = func(schema string, shards ...uint8) {
		assert.Equal(t, "orders", schema)
		woken = append(woken, shards...)
	}
	functiontest.Start(t, f, map[string]string{"CURRENCY": "CHF"})
	order := events.CreateOrder{CustomerEmail: "alice@example.com", Items: []events.Item{
		{SKU: "B", Quantity: 1, UnitPrice: 500}, {SKU: "A", Quantity: 2, UnitPrice: 1299}, {SKU: "B", Quantity: 3, UnitPrice: 0},
	}}

	accepted, err := f.Create(t.Context(), Command{Order: order, Cause: events.Cause{CorrelationID: "flow-1", CausationID: "cause-1"}})
	require.NoError(t, err)

	id := accepted.OrderID
	assert.Equal(t, Accepted{OrderAnswer: events.OrderAnswer{OrderID: id, Status: "PENDING"}, CreatedAt: now}, accepted)
	assert.Equal(t, orders.GetOrderRow{
		ID: id, CustomerEmail: "alice@example.com", Status: orders.OrdersStatusPENDING, TotalAmount: 3098, Currency: "CHF",
		Version: 1, CreatedAt: now, UpdatedAt: now,
	}, functiontest.Stored(t, f.DB, id))
	lines, err := orders.New(f.DB).ListItems(t.Context(), []string{id})
	require.NoError(t, err)
	assert.Equal(t, []orders.ListItemsRow{
		{OrderID: id, Sku: "B", UnitPrice: 500, Quantity: 1}, {OrderID: id, Sku: "A", UnitPrice: 1299, Quantity: 2}, {OrderID: id, Sku: "B", UnitPrice: 0, Quantity: 3},
	}, lines)
	assert.Equal(t, []uint8{outbox.Shard(id)}, woken)
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderCreated](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.OrderCreated{OrderID: id, CustomerEmail: "alice@example.com", Items: order.Items, TotalAmount: 3098, CreatedAt: now}, fact)
	assert.Equal(t, id+"#1", emitted[0].ID())
	assert.Equal(t, "flow-1", emitted[0].Extensions()["correlationid"])
	assert.Equal(t, "cause-1", emitted[0].Extensions()["causationid"])
	var line map[string]any
	require.NoError(t, json.Unmarshal(log.Bytes(), &line))
	assert.Equal(t, id, line["order_id"])
	assert.Equal(t, "flow-1", line["correlation_id"])
}

func TestOrderCreatedIsEmittedInTheVersionOfTheDeployment(t *testing.T) {
	for version, test := range map[string]struct {
		schema, currency string
		channel          events.Channel
	}{
		"":  {schema: "order.created.v1.json"},
		"1": {schema: "order.created.v1.json"},
		"2": {schema: "order.created.v2.json", currency: "CHF", channel: events.ChannelCloudEvent},
	} {
		t.Run("version "+version, func(t *testing.T) {
			f := functiontest.Start(t, New(), map[string]string{"CURRENCY": "CHF", "ORDER_CREATED_VERSION": version})
			command := keyed("k", 2)
			command.Channel = events.ChannelCloudEvent
			accepted, err := f.Create(t.Context(), command)
			require.NoError(t, err)
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			assert.Equal(t, "https://example.com/orders/schemas/"+test.schema, emitted[0].DataSchema())
			fact, err := events.Decode[events.OrderCreated](emitted[0])
			require.NoError(t, err)
			assert.Equal(t, accepted.OrderID, fact.OrderID)
			assert.Equal(t, test.currency, fact.Currency)
			assert.Equal(t, test.channel, fact.Channel)
		})
	}
}

func TestCreateAnswersAKnownKeyLikeTheFirstTime(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	first, err := f.Create(t.Context(), keyed("k", 2))
	require.NoError(t, err)
	assert.False(t, first.Replayed)

	again, err := f.Create(t.Context(), keyed("k", 2))
	require.NoError(t, err)

	first.CreatedAt = first.CreatedAt.Truncate(time.Microsecond)
	first.Replayed = true
	assert.Equal(t, first, again)
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}

func TestARepeatedCreateGetsTheFirstAnswerWhateverTheOrdersStatus(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	first, err := f.Create(t.Context(), keyed("k", 2))
	require.NoError(t, err)
	_, err = f.DB.ExecContext(t.Context(), "UPDATE orders SET status = 'FAILED'")
	require.NoError(t, err)

	again, err := f.Create(t.Context(), keyed("k", 2))
	require.NoError(t, err)
	assert.Equal(t, first.OrderAnswer, again.OrderAnswer)
}

func TestCreateRefusesAKnownKeyForAnotherOrder(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	_, err := f.Create(t.Context(), keyed("k", 2))
	require.NoError(t, err)

	_, err = f.Create(t.Context(), keyed("k", 3))

	require.ErrorIs(t, err, ErrKeyReused)
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM order_items"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}

// lose makes f call loss just before the first commit.
func lose(f *Function, loss func()) {
	times := 0
	clock := f.Now
	f.NewID = functiontest.OrderID
	f.Now = func() time.Time {
		// The clock is read once for the order and once for the event in the outbox, just before the commit.
		if times++; times == 2 {
			loss()
		}
		return clock()
	}
}

func TestCreateThatIsRolledBackLeavesNoKey(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	_, err := f.DB.ExecContext(t.Context(), "RENAME TABLE outbox TO outbox_away")
	require.NoError(t, err)
	_, err = f.Create(t.Context(), keyed("k", 2))
	require.ErrorContains(t, err, "outbox")
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	_, err = f.DB.ExecContext(t.Context(), "RENAME TABLE outbox_away TO outbox")
	require.NoError(t, err)

	again, err := f.Create(t.Context(), keyed("k", 3))
	require.NoError(t, err)
	assert.False(t, again.Replayed)
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}

func TestCreateIsDoneAgainWhenItsConnectionIsCut(t *testing.T) {
	for name, key := range map[string][]byte{"with a key": KeyHash("k"), "without": nil} {
		t.Run(name, func(t *testing.T) {
			f := functiontest.Start(t, New(), nil)
			lose(f, func() {
				cut, err := servertest.Cut(t.Context(), f.DB, func(servertest.Session) bool { return true })
				assert.NoError(t, err)
				assert.NotZero(t, cut)
			})

			accepted, err := f.Create(t.Context(), Command{Order: wanted(2), KeyHash: key, Cause: events.Cause{CorrelationID: "flow-1"}})

			require.NoError(t, err)
			assert.False(t, accepted.Replayed)
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE id = ?", accepted.OrderID))
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
		})
	}
}

// If the acknowledgement of a commit is lost, the transaction runs again with the same id.
func TestCreateThatMeetsItsOwnOrderAnswersForIt(t *testing.T) {
	for name, key := range map[string][]byte{"with a key": KeyHash("k"), "without": nil} {
		t.Run(name, func(t *testing.T) {
			f := New()
			id := functiontest.OrderID()
			f.NewID = func() string { return id }
			functiontest.Start(t, f, nil)
			command := Command{Order: wanted(2), KeyHash: key, Cause: events.Cause{CorrelationID: "flow-1"}}
			first, err := f.Create(t.Context(), command)
			require.NoError(t, err)

			again, err := f.Create(t.Context(), command)
			require.NoError(t, err)

			assert.Equal(t, first, again)
			assert.Len(t, outboxtest.Drain(t, f.DB), 1)
		})
	}
}

// hold stores an order in a transaction, which holds its key until it ends, and returns the order's id.
func hold(t *testing.T, f *Function, c Command) (tx *sql.Tx, id string) {
	t.Helper()
	tx, err := f.DB.BeginTx(t.Context(), transaction.ReadCommitted)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() }) // it may have ended
	fingerprint, id := c.Order.Fingerprint(), functiontest.OrderID()
	require.NoError(t, orders.New(tx).InsertOrder(t.Context(), orders.InsertOrderParams{
		ID: id, CustomerEmail: "alice@example.com", Status: orders.OrdersStatusPENDING, Currency: "EUR", Version: 1,
		IdempotencyKeyHash: c.KeyHash, RequestHash: fingerprint[:], CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}))
	return tx, id
}

func TestCreateWaitsForItsKeyAndThenDecides(t *testing.T) {
	for name, committed := range map[string]bool{"the first one commits": true, "the first one gives up": false} {
		t.Run(name, func(t *testing.T) {
			f := functiontest.Start(t, New(), nil)
			first, id := hold(t, f, keyed("k", 2))
			answers := make(chan Accepted, 5)
			for range cap(answers) {
				go func() {
					accepted, err := f.Create(t.Context(), keyed("k", 2))
					assert.NoError(t, err)
					answers <- accepted
				}()
			}
			servertest.AwaitRunning(t, f.DB, "name: InsertOrder ", cap(answers))

			if committed {
				require.NoError(t, first.Commit())
			} else {
				require.NoError(t, first.Rollback())
			}

			ids := map[string]int{}
			replayed := 0
			for range cap(answers) {
				accepted := <-answers
				ids[accepted.OrderID]++
				if accepted.Replayed {
					replayed++
				}
			}
			require.Len(t, ids, 1)
			assert.Equal(t, committed, ids[id] == cap(answers))
			if !committed {
				assert.Equal(t, cap(answers)-1, replayed)
			}
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
		})
	}
}

func TestKeysOfTheAPIAndOfEventsAreKeptApart(t *testing.T) {
	assert.Len(t, KeyHash("k"), sha256.Size)
	assert.NotEqual(t, KeyHash("k"), KeyHash("K"))
}

func TestCreateAnswersOnlyOnceItHasStarted(t *testing.T) {
	_, err := New().Create(t.Context(), keyed("k", 2))
	assert.ErrorIs(t, err, base.ErrNotStarted)
}

func TestStartRefusesAVersionThatItCannotEmit(t *testing.T) {
	for _, version := range []string{"0", "3", "two", " 2"} {
		assert.ErrorContains(t, New().Start(t.Context(), map[string]string{"ORDER_CREATED_VERSION": version}), "ORDER_CREATED_VERSION", version)
	}
}

func TestStartRefusesAnInvalidCurrency(t *testing.T) {
	for _, currency := range []string{"eur", "EURO", "€", " EUR"} {
		assert.ErrorContains(t, New().Start(t.Context(), map[string]string{"CURRENCY": currency}), "CURRENCY", currency)
	}
}
