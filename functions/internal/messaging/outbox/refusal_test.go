package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

func TestBackoffDoublesUpToACeiling(t *testing.T) {
	cases := map[string]struct {
		n       int
		ceiling time.Duration
	}{
		"first":      {1, time.Second},
		"second":     {2, 2 * time.Second},
		"fifth":      {5, 16 * time.Second},
		"ninth":      {9, 256 * time.Second},
		"tenth":      {10, 5 * time.Minute},
		"hundredth":  {100, 5 * time.Minute},
		"far beyond": {1 << 40, 5 * time.Minute},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Zero(t, outbox.Backoff(c.n, 0))
			assert.Equal(t, c.ceiling/2, outbox.Backoff(c.n, 0.5))
			assert.Equal(t, c.ceiling/4, outbox.Backoff(c.n, 0.25))
			assert.Less(t, outbox.Backoff(c.n, 0.999999), c.ceiling)
		})
	}
}

// refusing is a broker that refuses one event with a reason, and takes all others.
func refusing(t *testing.T, id string, reason error) *broker {
	t.Helper()
	return &broker{t: t, answer: func(_ context.Context, e event.Event) (o outbox.Outcome) {
		if e.ID() == id {
			o.Err = reason
		}
		return o
	}}
}

func TestRelayCountsARefusalAndHoldsBackItsAggregate(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	names := sameShard(2)
	refused, later, other := fact(names[0], 1), fact(names[0], 2), fact(names[1], 1)
	store(t, db, refused, later, other)
	b := refusing(t, refused.ID(), fmt.Errorf("%w: invalid record", outbox.ErrRefused))
	r := relay(db, b)
	r.Now = func() time.Time { return time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) } // only the database's clock counts

	var before, next time.Time
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT NOW(6)").Scan(&before))
	sent, err := r.Sweep(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, sent)

	n := b.times(refused.ID()) // with little jitter it may have been due again in the same sweep
	assert.Equal(t, state{status: "ERROR", attempts: n, waits: true, lastError: "refused by the broker: invalid record"}, stored(t, db, refused))
	assert.Equal(t, state{status: "NEW"}, stored(t, db, later), "it is held back")
	assert.Equal(t, state{status: "SENT"}, stored(t, db, other), "it goes on")
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT next_attempt_at FROM outbox WHERE status = 'ERROR'").Scan(&next))
	assert.False(t, next.Before(before))
	assert.Less(t, next.Sub(before), time.Second<<(n-1)+10*time.Second, "the wait and the time of the sweep")

	exec(t, db, "UPDATE outbox SET next_attempt_at = NOW(6) + INTERVAL 1 HOUR WHERE status = 'ERROR'")
	assert.Zero(t, sweep(t, db, b), "the wait is unchanged")
	b.answer = nil
	makeDue(t, db)
	assert.Equal(t, 2, sweep(t, db, b))
	assert.Equal(t, state{status: "SENT", attempts: n, lastError: "refused by the broker: invalid record"}, stored(t, db, refused))
	assert.Equal(t, []string{refused.ID(), later.ID()}, b.ids()[len(b.ids())-2:])
}

func TestRelayParksARowAfterItsLastAttempt(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	refused, later := fact("a", 1), fact("a", 2)
	store(t, db, refused, later)
	b := refusing(t, refused.ID(), outbox.ErrRefused)

	for stored(t, db, refused).attempts < 10 {
		attempts := stored(t, db, refused).attempts
		sweep(t, db, b)
		require.Greater(t, stored(t, db, refused).attempts, attempts)
		if attempts < 9 {
			makeDue(t, db)
		}
	}
	sweep(t, db, b)

	assert.Equal(t, 10, b.times(refused.ID()))
	assert.Equal(t, state{status: "ERROR", attempts: 10, lastError: "refused by the broker"}, stored(t, db, refused))
	assert.Equal(t, state{status: "SENT"}, stored(t, db, later), "a parked row holds back nothing")
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'SENT' AND type <> 'order.created'"))
}

func TestRelayParksAnEventThatIsTooLargeAtOnce(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	large, later := fact("a", 1), fact("a", 2)
	large.DataEncoded = []byte(`{"text":"` + strings.Repeat("x", 2<<20) + `"}`)
	store(t, db, large, later)
	b := &broker{t: t, answer: func(_ context.Context, e event.Event) (o outbox.Outcome) {
		if len(e.Data()) > 1<<20 {
			o.Err = fmt.Errorf("%w: %d bytes", outbox.ErrTooLarge, len(e.Data()))
		}
		return o
	}}

	assert.Equal(t, 1, sweep(t, db, b))
	makeDue(t, db)
	assert.Zero(t, sweep(t, db, b))

	assert.Equal(t, state{status: "ERROR", attempts: 1, lastError: "too large for the broker: 2097163 bytes"}, stored(t, db, large))
	assert.Equal(t, state{status: "SENT"}, stored(t, db, later))
	assert.Equal(t, 1, b.times(large.ID()))
}

func TestRelayRefusesARowThatIsNoEvent(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	cases := map[string]string{
		"headers that are no JSON": `{"id":`,
		"no id":                    `{"source":"/orders","subject":"x","time":"2026-03-01T12:00:00Z","datacontenttype":"application/json"}`,
	}
	for name, headers := range cases {
		t.Run(name, func(t *testing.T) {
			exec(t, db, "DELETE FROM outbox")
			names := sameShard(2)
			store(t, db, fact(names[0], 1), fact(names[1], 1))
			exec(t, db, "UPDATE outbox SET headers = ? WHERE aggregate_id = ?", headers, names[0])
			b := &broker{t: t}
			assert.Equal(t, 1, sweep(t, db, b))
			assert.Equal(t, []string{names[1] + "#1"}, b.ids())
			assert.Equal(t, 1, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'ERROR' AND attempts > 0 AND aggregate_id = ?", names[0]))
		})
	}
}

func TestRelayCutsALongReason(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	e := fact("a", 1)
	store(t, db, e)
	reason := strings.Repeat("x", 477) + "\u00e9\u00e9\xff" + strings.Repeat("y", 500)
	b := refusing(t, e.ID(), fmt.Errorf("%w: %w", outbox.ErrTooLarge, errors.New(reason)))

	assert.Zero(t, sweep(t, db, b))

	text := stored(t, db, e).lastError
	assert.True(t, strings.HasPrefix(text, "too large for the broker: xxx"))
	assert.LessOrEqual(t, len(text), 500)
	assert.GreaterOrEqual(t, len(text), 490)
	assert.True(t, utf8.ValidString(text))
}

func TestEveryWaitingRowHoldsBackItsAggregate(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	names := sameShard(700)
	var first []event.Event
	for _, name := range names {
		first = append(first, fact(name, 1))
	}
	store(t, db, first...)
	sweep(t, db, &broker{t: t, answer: func(context.Context, event.Event) outbox.Outcome { return outbox.Outcome{Err: outbox.ErrRefused} }})
	exec(t, db, "UPDATE outbox SET next_attempt_at = NOW(6) + INTERVAL 1 HOUR")
	last := names[len(names)-1]
	store(t, db, fact(last, 2), fact(sameShard(701)[700], 1))
	b := &broker{t: t}

	assert.Equal(t, 1, sweep(t, db, b))
	assert.Zero(t, b.times(last+"#2"), "it waits behind the first")
	// The new row gets a next attempt too, as from an operator who looks only at the aggregate.
	exec(t, db, "UPDATE outbox SET next_attempt_at = NOW(6) WHERE aggregate_id = ?", last)
	assert.Equal(t, 2, sweep(t, db, b), "a due row is found behind any number of waiting ones")
	assert.Equal(t, []string{last + "#1", last + "#2"}, b.ids()[1:])
}
