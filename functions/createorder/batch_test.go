package createorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/dberror"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// quiet starts the function without a log.
func quiet(t *testing.T, f *Function) *Function {
	t.Helper()
	f.Log = slog.New(slog.DiscardHandler)
	return functiontest.Start(t, f, nil)
}

func TestManyCreatesWithFewKeysMakeOneOrderAKey(t *testing.T) {
	f := quiet(t, New())
	const creates, keys = 200, 20
	answers, errs := make([]Accepted, creates), make([]error, creates)
	key := func(i int) int { return i % keys }
	quantity := func(i int) int64 { return 1 + int64(i/keys%2) } // every second use of a key has another body

	functiontest.Concurrently(creates, func(i int) {
		answers[i], errs[i] = f.Create(t.Context(), keyed(fmt.Sprint("k-", key(i)), quantity(i)))
	})

	for k := range keys {
		var id string
		var made, firsts int
		var body int64
		for i := range creates {
			if key(i) != k || errs[i] != nil {
				continue
			}
			if made++; made == 1 {
				id, body = answers[i].OrderID, quantity(i)
			}
			assert.Equal(t, id, answers[i].OrderID)
			assert.Equal(t, body, quantity(i), "the other body is refused")
			if !answers[i].Replayed {
				firsts++
			}
		}
		assert.Equal(t, creates/keys/2, made)
		assert.Equal(t, 1, firsts)
		assert.Equal(t, body, functiontest.Stored(t, f.DB, id).TotalAmount/1299)
	}
	for i, err := range errs {
		if err != nil {
			assert.ErrorIs(t, err, ErrKeyReused, i)
		}
	}
	assert.Equal(t, keys, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Equal(t, keys, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM order_items"))
	assert.Len(t, outboxtest.Drain(t, f.DB), keys)
}

func TestCreatesThatWaitAreStoredTogether(t *testing.T) {
	f := quiet(t, New())
	const n = 64
	batch := make([]pending, n)
	for i := range batch {
		command := keyed(fmt.Sprint("k-", i), 1)
		p, err := f.prepare(command, command.Order.Fingerprint())
		require.NoError(t, err)
		batch[i] = p
	}
	statements := mysqltest.Statements(t, f.DB, func() {
		_, err := f.store(t.Context(), batch, false)
		assert.NoError(t, err)
	})
	assert.LessOrEqual(t, statements, 8)
	assert.Len(t, outboxtest.Drain(t, f.DB), n)
}

func TestAKeyThatIsHeldHoldsUpOthersForAShortTimeOnly(t *testing.T) {
	f := quiet(t, New())
	holder, _ := hold(t, f, keyed("held", 1))
	var batch []pending
	for _, key := range []string{"a", "b", "held", "c"} {
		command := keyed(key, 1)
		p, err := f.prepare(command, command.Order.Fingerprint())
		require.NoError(t, err)
		batch = append(batch, p)
	}

	_, err := f.store(t.Context(), batch, false)
	assert.True(t, dberror.IsLockWaitTimeout(err), "the server gives up: %v", err)
	seconds := mysqltest.Count(t, f.DB, "SELECT @@innodb_lock_wait_timeout")
	assert.Less(t, time.Duration(seconds)*time.Second, batches.Timeout, "it does so before the batch times out")
	for _, i := range []int{0, 1, 3} {
		_, err := f.store(t.Context(), batch[i:i+1], false)
		assert.NoError(t, err, "nothing blocks it any more")
	}
	require.NoError(t, holder.Rollback())
	_, err = f.Create(t.Context(), keyed("held", 1))
	require.NoError(t, err)
	assert.Len(t, outboxtest.Drain(t, f.DB), 4)
}

func TestCreatesWhoseCommitIsLostAreAnsweredForTheirOwnOrders(t *testing.T) {
	for name, c := range map[string]struct{ before, after int32 }{
		"before it": {2, 0}, "after it": {0, 1}, "after it, and again alone": {0, 3}, "before it until the batch is given up": {8, 0},
	} {
		t.Run(name, func(t *testing.T) {
			db, loss := mysqltest.Lossy(t, mysqltest.Server(t), schema.Orders)
			f := New()
			f.DB = db
			quiet(t, f)
			loss.Before.Store(c.before)
			loss.After.Store(c.after)
			answers := make([]Accepted, 30)
			functiontest.Concurrently(len(answers), func(i int) {
				command := Command{Order: wanted(1), Cause: events.Cause{CorrelationID: "flow-1"}}
				if i%2 == 0 {
					command.KeyHash = KeyHash(fmt.Sprint("k-", i))
				}
				var err error
				answers[i], err = f.Create(t.Context(), command)
				assert.NoError(t, err)
			})
			loss.Before.Store(0) // the number of commits depends on how the batches form
			loss.After.Store(0)
			ids := map[string]bool{}
			for _, a := range answers {
				assert.False(t, a.Replayed)
				ids[a.OrderID] = true
			}
			assert.Len(t, ids, len(answers))
			assert.Equal(t, len(answers), mysqltest.Count(t, db, "SELECT COUNT(*) FROM orders"))
			assert.Len(t, outboxtest.Drain(t, db), len(answers))
		})
	}
}

func TestACreateWhoseClientIsGoneIsNoOrderOfAnotherKey(t *testing.T) {
	f := quiet(t, New())
	// The transaction holds the key, so that the client disconnects before the order is stored.
	holder, _ := hold(t, f, keyed("k", 1))
	ctx, leave := context.WithCancelCause(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := f.Create(ctx, keyed("k", 1))
		gone <- err
	}()
	servertest.AwaitRunning(t, f.DB, "name: InsertOrder ", 1)
	leave(errors.New("the client is gone"))
	require.ErrorIs(t, <-gone, context.Canceled)
	require.NoError(t, holder.Rollback())

	_, err := f.Create(t.Context(), keyed("k", 1))

	require.NoError(t, err, "it exists or is created now, with the same answer")
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}
