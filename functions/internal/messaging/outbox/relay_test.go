package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

var errAway = errors.New("no broker answers")

func away(context.Context, event.Event) outbox.Outcome { return outbox.Outcome{Err: errAway} }

func TestRelayMarksAcknowledgedRowsAsSent(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	yes, no := fact("yes", 1), fact("no", 1)
	store(t, db, yes, no)
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	b := &broker{t: t, answer: func(_ context.Context, e event.Event) outbox.Outcome {
		// Another session sees the row before the relay's commit.
		assert.Equal(t, state{status: "NEW"}, stored(t, db, e))
		if e.ID() == no.ID() {
			return outbox.Outcome{Partition: 2, Offset: 8, Err: errAway}
		}
		return outbox.Outcome{Partition: 2, Offset: 7}
	}}
	r := relay(db, b)
	r.Now = func() time.Time { return at }

	sent, err := r.Sweep(t.Context(), outbox.Shard("yes"))
	require.NoError(t, err)
	assert.Equal(t, 1, sent)
	sent, err = r.Sweep(t.Context(), outbox.Shard("no"))
	assert.ErrorIs(t, err, errAway)
	assert.Zero(t, sent)

	assert.Equal(t, state{status: "SENT"}, stored(t, db, yes))
	assert.Equal(t, state{status: "NEW"}, stored(t, db, no))
	assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE kafka_partition = 2 AND kafka_offset = 7 AND sent_at = ?", at))
	assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE kafka_partition IS NULL AND kafka_offset IS NULL AND sent_at IS NULL"))
}

func TestRelayMarksEachRowOfABatchByItsOwnOutcome(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	events := map[string]event.Event{}
	for i, name := range sameShard(4) {
		e := fact(name, 1)
		events[[]string{"taken", "unknown", "refused", "large"}[i]] = e
		store(t, db, e)
	}
	b := &broker{t: t, answer: func(_ context.Context, e event.Event) outbox.Outcome {
		return map[string]outbox.Outcome{
			events["taken"].ID():   {Offset: 1},
			events["unknown"].ID(): {Err: errAway},
			events["refused"].ID(): {Err: fmt.Errorf("%w: no such topic", outbox.ErrRefused)},
			events["large"].ID():   {Err: fmt.Errorf("%w: 2 MB", outbox.ErrTooLarge)},
		}[e.ID()]
	}}
	sent, err := relay(db, b).Sweep(t.Context())
	assert.ErrorIs(t, err, errAway)
	assert.Equal(t, 1, sent)

	assert.Equal(t, state{status: "SENT"}, stored(t, db, events["taken"]))
	assert.Equal(t, state{status: "NEW"}, stored(t, db, events["unknown"]))
	assert.Equal(t, state{status: "ERROR", attempts: 1, waits: true, lastError: "refused by the broker: no such topic"}, stored(t, db, events["refused"]))
	assert.Equal(t, state{status: "ERROR", attempts: 1, lastError: "too large for the broker: 2 MB"}, stored(t, db, events["large"]))
}

// sameShard returns n aggregates whose events share a shard.
func sameShard(n int) []string {
	names := make([]string, 0, n)
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprintf("order-%d", i); outbox.Shard(name) == 3 {
			names = append(names, name)
		}
	}
	return names
}

func TestRelayTakesAMissingOutcomeForUnknown(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	names := sameShard(2)
	store(t, db, fact(names[0], 1), fact(names[1], 1))

	sent, err := relay(db, curt{}).Sweep(t.Context())

	assert.Error(t, err)
	assert.Equal(t, 1, sent)
	assert.Equal(t, state{status: "SENT"}, stored(t, db, fact(names[0], 1)))
	assert.Equal(t, state{status: "NEW"}, stored(t, db, fact(names[1], 1)))
}

// curt is a Publisher that returns an outcome for the first event of a batch only.
type curt struct{}

func (curt) Publish(context.Context, []event.Event) []outbox.Outcome {
	return make([]outbox.Outcome, 1)
}
func (curt) Close() error { return nil }

func TestRelayWaitsForABrokerThatIsDown(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	const n = 40
	for i := range n {
		store(t, db, fact(fmt.Sprint("order-", i), 1), fact(fmt.Sprint("order-", i), 2))
	}
	b := &broker{t: t, answer: away}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := relay(db, b)
	r.Now = func() time.Time { return now }

	for end := now.Add(30 * time.Minute); now.Before(end); now = now.Add(5 * time.Second) {
		sent, err := r.Sweep(t.Context())
		require.ErrorIs(t, err, errAway)
		require.Zero(t, sent)
	}
	assert.Equal(t, 2*n, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'NEW' AND attempts = 0 AND last_error IS NULL AND next_attempt_at IS NULL"))

	b.answer = nil
	sent, err := r.Sweep(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2*n, sent)
	assert.Equal(t, 2*n, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT' AND attempts = 0 AND sent_at = ?", now))
}

func TestRelayLeavesNoShardBehindOneThatFails(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	stuck := 0
	for i := range 40 {
		name := fmt.Sprint("order-", i)
		if outbox.Shard(name) == 0 {
			stuck++
		}
		store(t, db, fact(name, 1))
	}
	b := &broker{t: t, answer: func(_ context.Context, e event.Event) (o outbox.Outcome) {
		if outbox.Shard(e.Subject()) == 0 {
			o.Err = errAway
		}
		return o
	}}
	// A sweep stops at the error, but starts at a random shard: with this many sweeps each shard is reached.
	for range 200 {
		if mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'NEW'") == stuck {
			return
		}
		_, err := relay(db, b).Sweep(t.Context())
		require.ErrorIs(t, err, errAway)
	}
	assert.Fail(t, "rows of other shards were not sent")
}

func TestRelaySendsTheShardsOfAPoke(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	store(t, db, fact("a", 1), fact("foobar", 1))
	b := &broker{t: t}
	sent, err := relay(db, b).Sweep(t.Context(), outbox.Shard("foobar"))
	require.NoError(t, err)
	assert.Equal(t, 1, sent)
	assert.Equal(t, []string{"foobar#1"}, b.ids())
	assert.Equal(t, 1, sweep(t, db, b))
	assert.Zero(t, sweep(t, db, b))
}

func TestRelaySendsMoreThanABatch(t *testing.T) {
	everywhere := make([]string, 1300)
	for i := range everywhere {
		everywhere[i] = fmt.Sprint("order-", i)
	}
	for name, names := range map[string][]string{"of one shard": sameShard(601), "of all shards": everywhere} {
		t.Run(name, func(t *testing.T) { assertAllSentInOrder(t, names) })
	}
}

// assertAllSentInOrder stores two facts of each aggregate, and asserts that a sweep sends each once and in order.
func assertAllSentInOrder(t *testing.T, names []string) {
	t.Helper()
	db := mysqltest.Open(t, schema.Orders)
	var events []event.Event
	for n := range 2 {
		for _, name := range names {
			events = append(events, fact(name, n+1))
		}
	}
	store(t, db, events...)
	b := &broker{t: t}
	assert.Equal(t, len(events), sweep(t, db, b))
	seen := map[string]bool{}
	for _, id := range b.ids() {
		assert.False(t, seen[id], "%s is sent again", id)
		seen[id] = true
		if first := id[:len(id)-1] + "1"; !seen[first] {
			assert.Fail(t, "out of order", "%s before %s", id, first)
		}
	}
	assert.Len(t, seen, len(events))
}

func TestABacklogThatMeetsAFaultIsNotLost(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	var events []event.Event
	for i := range 2500 {
		events = append(events, fact(fmt.Sprint("order-", i), 1))
	}
	store(t, db, events...)
	given := 0
	b := &broker{t: t}
	b.answer = func(context.Context, event.Event) (o outbox.Outcome) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if given++; given > 1000 && given%7 == 0 {
			o.Err = errAway
		}
		return o
	}
	sent, err := relay(db, b).Sweep(t.Context())
	require.ErrorIs(t, err, errAway)
	assert.Equal(t, sent, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT'"))
	b.answer = nil
	assert.Equal(t, len(events)-sent, sweep(t, db, b))
}

func TestRelaySendsRowsWhoseIdsCommitOutOfOrder(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	names := sameShard(2)
	stored, commit, committed := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		committed <- transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
			if _, err := outbox.Append(ctx, tx, time.Now(), []event.Event{fact(names[0], 1)}); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "DO 1") // sends the deferred event to the server
			close(stored)
			<-commit
			return err
		})
	}()
	<-stored
	store(t, db, fact(names[1], 1)) // has the higher id and is first
	b := &broker{t: t}

	assert.Equal(t, 1, sweep(t, db, b))
	close(commit)
	require.NoError(t, <-committed)
	assert.Equal(t, 1, sweep(t, db, b))

	assert.Equal(t, []string{names[1] + "#1", names[0] + "#1"}, b.ids())
	assert.Equal(t, 1, mysqltest.Count(t, db, `SELECT COUNT(*) FROM outbox a JOIN outbox b ON a.id < b.id
		WHERE a.aggregate_id = ? AND b.aggregate_id = ? AND a.status = 'SENT' AND b.status = 'SENT'`, names[0], names[1]))
}

func TestRelaysOfDifferentShardsClaimAllOfTheirs(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	var relays sync.WaitGroup
	for _, shards := range [][]uint8{{0, 1, 2, 3}, {4, 5, 6, 7}} {
		relays.Go(func() {
			for range 500 {
				if !assert.NoError(t, transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
					claimed, err := messaging.New(tx).ClaimShards(ctx, shards)
					if err == nil && len(claimed) != len(shards) {
						return fmt.Errorf("of the shards %v, which no other relay claims, %v were claimed", shards, claimed)
					}
					return err
				})) {
					return
				}
			}
		})
	}
	relays.Wait()
}
