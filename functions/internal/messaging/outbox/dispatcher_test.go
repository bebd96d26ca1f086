package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// process stores events as a process does, in which a dispatcher runs.
type process struct {
	t          testing.TB
	db         *sql.DB
	dispatcher *outbox.Dispatcher
	stop       func() // ends the dispatcher and waits for it

	mu    sync.Mutex
	poked []uint8
}

// begin starts a process, whose dispatcher takes events when begin returns.
func begin(t testing.TB, db *sql.DB, p outbox.Publisher) *process {
	t.Helper()
	one := &process{t: t, db: db}
	one.dispatcher = outbox.NewDispatcher(outbox.DefaultHold, time.Now, func(shards ...uint8) {
		one.mu.Lock()
		defer one.mu.Unlock()
		one.poked = append(one.poked, shards...)
	})
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { one.dispatcher.Run(ctx, relay(db, p), slog.New(slog.DiscardHandler)) })
	one.stop = func() {
		end()
		running.Wait()
	}
	t.Cleanup(one.stop)
	require.Eventually(t, one.dispatcher.Taking, 10*time.Second, time.Millisecond)
	return one
}

// commit stores events in one transaction, in reaction to facts about the orders consumed.
func (p *process) commit(consumed []event.Event, emitted ...event.Event) (left []uint8) {
	p.t.Helper()
	left, err := p.try(consumed, emitted...)
	require.NoError(p.t, err)
	return left
}

func (p *process) try(consumed []event.Event, emitted ...event.Event) ([]uint8, error) {
	return outbox.Store{DB: p.db, Now: time.Now, Dispatcher: p.dispatcher}.After(consumed).Transact(p.t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) {
		return emitted, nil
	})
}

func (p *process) pokes() []uint8 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.poked
}

// awaitState waits until the row of an event has a state.
func awaitState(t testing.TB, db *sql.DB, e event.Event, want state) {
	t.Helper()
	require.Eventually(t, func() bool { return stored(t, db, e) == want }, 10*time.Second, time.Millisecond, "%s", e.ID())
}

func orderID() string { return uuid.Must(uuid.NewV7()).String() }

// mute is a broker that answers nothing before it is opened.
func mute(t testing.TB) (b *broker, open func()) {
	t.Helper()
	gate := make(chan struct{})
	open = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	return &broker{t: t, answer: func(ctx context.Context, _ event.Event) (o outbox.Outcome) {
		select {
		case <-gate:
		case <-ctx.Done():
			o.Err = ctx.Err()
		}
		return o
	}}, open
}

func TestWhatIsCommittedIsPublishedFromMemoryAndMarked(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	b := &broker{t: t}
	p := begin(t, db, b)
	first, second := fact(orderID(), 1), fact(orderID(), 1)

	before := time.Now()
	assert.Empty(t, p.commit(nil, first, second), "nothing is left to the relay")

	awaitState(t, db, first, state{status: "SENT"})
	awaitState(t, db, second, state{status: "SENT"})
	assert.Equal(t, []string{first.ID(), second.ID()}, b.ids())
	for offset, e := range []event.Event{first, second} {
		var at time.Time
		var got int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT sent_at, kafka_offset FROM outbox WHERE aggregate_id = ?", e.Subject()).Scan(&at, &got))
		assert.Equal(t, offset, got, "each row has the place of its own record")
		assert.WithinRange(t, at, before, time.Now())
	}
	assert.Empty(t, p.pokes())
	assert.Zero(t, sweep(t, db, b))
}

func TestTheDispatcherTakesOnlyWhatFollowsPublishedEvents(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	b := &broker{t: t}
	p := begin(t, db, b)
	id, other := orderID(), orderID()
	inventory := fact(id, 2)
	inventory.SetSource("/inventory")
	odd := fact(id, 1)
	odd.SetID("no number")
	caused := []event.Event{fact(id, 1)}
	cases := map[string]struct {
		consumed []event.Event
		emitted  event.Event
		taken    bool
	}{
		"the first of an order":                                       {nil, fact(id, 1), true},
		"the second of an order, by a request":                        {nil, fact(id, 2), false},
		"the second of an order, in reaction to a fact about it":      {caused, fact(id, 2), true},
		"the second of an order, in reaction to one about another":    {[]event.Event{fact(other, 1)}, fact(id, 2), false},
		"the third of an order, in reaction to a fact about it":       {caused, fact(id, 3), false},
		"the second of a reservation, in reaction to a fact about it": {caused, inventory, false},
		"one without a number":                                        {caused, odd, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			exec(t, db, "DELETE FROM outbox")
			left := p.commit(c.consumed, c.emitted)
			if c.taken {
				assert.Empty(t, left)
				awaitState(t, db, c.emitted, state{status: "SENT"})
				return
			}
			assert.Equal(t, []uint8{outbox.Shard(id)}, left)
			assert.Equal(t, state{status: "NEW"}, stored(t, db, c.emitted), "it waits for a relay, without a hold")
			assert.Equal(t, 1, sweep(t, db, b))
		})
	}
}

func TestTheRowsOfOneTransactionAreMarkedEachByItsOwnID(t *testing.T) {
	for _, step := range []int{1, 3} {
		t.Run(fmt.Sprintf("auto_increment_increment=%d", step), func(t *testing.T) {
			server := mysqltest.Server(t)
			server.DSN += map[bool]string{true: "&", false: "?"}[strings.Contains(server.DSN, "?")] + fmt.Sprintf("auto_increment_increment=%d", step)
			db := mysqltest.Pool(t, server, schema.Orders)
			b := &broker{t: t}
			p := begin(t, db, b)
			var emitted []event.Event
			for i := range 40 {
				emitted = append(emitted, fact(orderID(), 1+i%2)) // every second one is left to the relay
			}

			p.commit(nil, emitted...)

			for i, e := range emitted {
				if i%2 == 0 {
					awaitState(t, db, e, state{status: "SENT"})
				} else {
					assert.Equal(t, state{status: "NEW"}, stored(t, db, e))
				}
			}
			assert.Equal(t, 20, sweep(t, db, b))
			for _, e := range emitted {
				assert.Equal(t, 1, b.times(e.ID()))
			}
		})
	}
}

func TestRelaysLeaveAHeldRowAloneUntilItsTimeIsOver(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	silent, _ := mute(t)
	p := begin(t, db, silent)
	e := fact(orderID(), 1)
	p.commit(nil, e)
	require.Eventually(t, func() bool { return len(silent.ids()) == 1 }, 10*time.Second, time.Millisecond)
	b := &broker{t: t}
	assert.Zero(t, sweep(t, db, b), "its process is about to publish it")

	makeDue(t, db) // its process has died

	assert.Equal(t, 1, sweep(t, db, b))
	assert.Equal(t, []string{e.ID()}, b.ids())
	assert.Equal(t, state{status: "SENT"}, stored(t, db, e))
}

func TestALaterEventWaitsForTheHeldOne(t *testing.T) {
	for name, share := range map[string]int{"few": 1, "many": 60} { // more than a pass skips
		t.Run(name, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Orders)
			silent, open := mute(t)
			p := begin(t, db, silent)
			var first, later []event.Event
			for len(first) < share {
				if id := orderID(); outbox.Shard(id) == 0 {
					first, later = append(first, fact(id, 1)), append(later, fact(id, 2))
				}
			}
			free := fact(orderID(), 2)
			p.commit(nil, first...)
			p.commit(nil, later...) // for example customers who cancel at once
			p.commit(nil, free)
			b := &broker{t: t}

			sweep(t, db, b)
			assert.Equal(t, []string{free.ID()}, b.ids(), "only what is not held back")
			open()
			for _, e := range first {
				awaitState(t, db, e, state{status: "SENT"})
			}
			makeDue(t, db)
			assert.Equal(t, share, sweep(t, db, b))
			assert.ElementsMatch(t, idsOf(append(later, free)), b.ids())
		})
	}
}

func idsOf(events []event.Event) (ids []string) {
	for _, e := range events {
		ids = append(ids, e.ID())
	}
	return ids
}

// Both are due at the same time: the one that was stored first goes first.
func TestALaterEventFollowsOneWhoseProcessHasDied(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	silent, _ := mute(t)
	p := begin(t, db, silent)
	id := orderID()
	p.commit(nil, fact(id, 1))
	p.commit(nil, fact(id, 2))
	makeDue(t, db)
	b := &broker{t: t}
	require.Eventually(t, func() bool { sweep(t, db, b); return len(b.ids()) == 2 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, []string{id + "#1", id + "#2"}, b.ids())
}

func TestWhatTheBrokerDoesNotTakeIsLeftToTheRelayAtOnce(t *testing.T) {
	cases := map[string]struct {
		err     error
		pauses  bool
		outcome state
	}{
		"it is away":              {errors.New("connection refused"), true, state{status: "SENT"}},
		"it refuses the event":    {outbox.ErrRefused, false, state{"ERROR", 1, true, "refused by the broker"}},
		"the event is too large":  {outbox.ErrTooLarge, false, state{"ERROR", 1, false, "too large for the broker"}},
		"it answers for no event": {nil, true, state{status: "SENT"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Orders)
			e := fact(orderID(), 1)
			var b outbox.Publisher = forgetful{}
			if c.err != nil {
				b = refusing(t, e.ID(), c.err)
			}
			p := begin(t, db, b)
			assert.Empty(t, p.commit(nil, e))

			require.Eventually(t, func() bool { return len(p.pokes()) > 0 }, 10*time.Second, time.Millisecond)
			assert.Equal(t, []uint8{outbox.Shard(e.Subject())}, p.pokes())
			assert.Equal(t, state{status: "NEW", waits: true}, stored(t, db, e), "no attempt is counted")
			assert.Equal(t, c.pauses, !p.dispatcher.Taking(), "after a failure relays do the work for a while")
			relays := b
			if c.pauses {
				relays = &broker{t: t}
			}
			sweep(t, db, relays)
			assert.Equal(t, c.outcome, stored(t, db, e))
		})
	}
}

// forgetful is a broker that tells nothing about its events.
type forgetful struct{}

func (forgetful) Publish(context.Context, []event.Event) []outbox.Outcome { return nil }
func (forgetful) Close() error                                            { return nil }

func TestWhileTheBrokerIsSlowEventsAreLeftToTheRelay(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	silent, _ := mute(t)
	p := begin(t, db, silent)
	require.Eventually(t, func() bool {
		e := fact(orderID(), 1)
		return len(p.commit(nil, e)) == 1 && stored(t, db, e) == state{status: "NEW"}
	}, 2*time.Second, 10*time.Millisecond, "it takes no more events than before it noticed")
}

func TestADispatcherThatEndsPublishesAndMarksWhatItHasTaken(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	b := &broker{t: t}
	p := begin(t, db, b)
	var all []event.Event
	for range 20 {
		e := fact(orderID(), 1)
		p.commit(nil, e)
		all = append(all, e)
	}
	p.stop()
	for _, e := range all {
		assert.Equal(t, state{status: "SENT"}, stored(t, db, e))
		assert.Equal(t, 1, b.times(e.ID()))
	}
	e := fact(orderID(), 1)
	assert.Equal(t, []uint8{outbox.Shard(e.Subject())}, p.commit(nil, e), "afterwards the relay has the events")
}

func TestSettleWaitsForWhatIsUnderWay(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	b := &broker{t: t}
	p := begin(t, db, b)
	for range 30 {
		e := fact(orderID(), 1)
		p.commit(nil, e)
		p.dispatcher.Settle(t.Context())
		assert.Equal(t, state{status: "SENT"}, stored(t, db, e))
	}
	silent, _ := mute(t)
	p = begin(t, db, silent)
	p.commit(nil, fact(orderID(), 1))
	ended, end := context.WithCancel(t.Context())
	end()
	p.dispatcher.Settle(ended) // returns, although nothing settles

	var none *outbox.Dispatcher
	none.Settle(t.Context())
}

func TestAnEventOfATransactionThatFailsIsNotPublished(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	b := &broker{t: t}
	p := begin(t, db, b)
	e := fact(orderID(), 1)
	broken := errors.New("out of luck")
	_, err := outbox.Store{DB: db, Now: time.Now, Dispatcher: p.dispatcher}.Transact(t.Context(), func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		exec(t, db, "SET @unused = 0") // another session
		_, err := tx.ExecContext(ctx, "INSERT INTO outbox_shards (shard) VALUES (0)")
		return []event.Event{e}, errors.Join(broken, err)
	})
	require.ErrorIs(t, err, broken)
	_, err = p.try(nil, e, tooLong())
	require.Error(t, err, "the server refuses a row")
	p.stop()
	assert.Empty(t, b.ids())
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox"))
}

// tooLong is an event that the outbox cannot store.
func tooLong() event.Event {
	e := fact(orderID(), 1)
	e.SetType(strings.Repeat("x", 65))
	return e
}

// fastidious is a broker that refuses some events at first, after which dispatchers go on, and takes its time.
type fastidious struct{ *unreliable }

func (f fastidious) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	if rand.N(100) < 2 {
		f.dropOne(ctx)
	}
	outcomes := make([]outbox.Outcome, len(batch))
	for i, e := range batch {
		if rand.N(100) < 15 {
			outcomes[i].Err = outbox.ErrRefused
			continue
		}
		f.mu.Lock()
		f.log[e.Subject()] = append(f.log[e.Subject()], e.ID())
		f.mu.Unlock()
	}
	return outcomes
}

// TestProcessesAndRelaysKeepTheOrder has processes with dispatchers, relays elsewhere, a broker with faults, and connections
// that are killed. The second fact of an order is stored after its first one was published, as in a reaction to it, the third one
// at any time.
func TestProcessesAndRelaysKeepTheOrder(t *testing.T) {
	const processes, relays, orders = 3, 3, 150
	server := mysqltest.Server(t)
	db, err := server.Open(schema.Orders, 16)
	require.NoError(t, err)
	defer func() { _ = db.Close() }() // it may report a killed connection
	quiet := mysqltest.Pool(t, server, "")
	u := fastidious{&unreliable{db: db, log: map[string][]string{}}}
	all := make([]*process, processes)
	for i := range all {
		all[i] = begin(t, db, u)
	}
	ids := make([]string, orders)
	for i := range ids {
		ids[i] = orderID()
	}
	store := func(consumed []event.Event, e event.Event) {
		assert.NoError(t, retried(all[rand.N(processes)], consumed, e))
	}

	writing, written := context.WithCancel(t.Context())
	var writers, sweepers sync.WaitGroup
	for _, id := range ids {
		writers.Go(func() {
			store(nil, fact(id, 1))
			if rand.N(2) == 0 {
				store(nil, fact(id, 2)) // a customer cancels
				return
			}
			require.Eventually(t, func() bool { return u.has(id, 1) }, time.Minute, time.Millisecond)
			store([]event.Event{fact(id, 1)}, fact(id, 2))
			store(nil, fact(id, 3))
		})
	}
	for range relays {
		sweepers.Go(func() {
			for writing.Err() == nil || unsent(t, quiet, server) > 0 {
				_, _ = relay(db, u).Sweep(t.Context())
				makeSomeDue(t, quiet, server)
			}
		})
	}
	writers.Wait()
	written()
	sweepers.Wait()

	for _, id := range ids {
		first := u.firsts(id)
		for n := range first {
			assert.Equal(t, fact(id, n+1).ID(), first[n])
		}
		assert.GreaterOrEqual(t, len(first), 2)
	}
}

// retried stores an event, again if the connection was killed and the event is not there.
func retried(p *process, consumed []event.Event, e event.Event) error {
	for {
		_, err := p.try(consumed, e)
		if err == nil {
			return nil
		}
		var n int
		if p.db.QueryRowContext(p.t.Context(), "SELECT COUNT(*) FROM outbox WHERE JSON_UNQUOTE(JSON_EXTRACT(headers, '$.id')) = ?", e.ID()).Scan(&n) == nil && n > 0 {
			return nil
		}
		if p.t.Context().Err() != nil {
			return err
		}
	}
}

// has returns whether the broker has stored the nth fact of an order.
func (u *unreliable) has(id string, n int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, one := range u.log[id] {
		if one == fact(id, n).ID() {
			return true
		}
	}
	return false
}

func unsent(t testing.TB, db *sql.DB, server schema.Server) int {
	t.Helper()
	return mysqltest.Count(t, db, "SELECT COUNT(*) FROM "+server.Prefix+"orders.outbox WHERE status <> 'SENT'")
}

// makeSomeDue ends the wait of refused rows, and sometimes the hold of others, as if their process had been too slow.
func makeSomeDue(t testing.TB, db *sql.DB, server schema.Server) {
	t.Helper()
	status := "'ERROR'"
	if rand.N(10) == 0 {
		status = "'ERROR', 'NEW'"
	}
	// It may deadlock with a relay, and is done again.
	_, _ = db.ExecContext(t.Context(), "UPDATE "+server.Prefix+"orders.outbox SET next_attempt_at = NOW(6) WHERE next_attempt_at IS NOT NULL AND status IN ("+status+")")
}
