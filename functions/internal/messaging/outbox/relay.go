package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/transaction"
)

// Publisher publishes events to the topics of their types.
type Publisher interface {
	// Publish sends a batch and waits within ctx for the broker's acknowledgements. It returns one outcome per event, in the
	// order of the batch. The batch has at most one event per aggregate.
	Publish(ctx context.Context, batch []event.Event) []Outcome
	Close() error
}

// Outcome is the result of publishing one event. Without an error all in-sync replicas have stored it. An error that wraps
// ErrRefused or ErrTooLarge means that the broker did not store it, because of the event itself. With any other error its
// fate is unknown, and it is sent again.
type Outcome struct {
	Partition int32
	Offset    int64
	Err       error
}

// ErrRefused marks an event that the broker refused for what it is: this counts as an attempt.
var ErrRefused = errors.New("refused by the broker")

// ErrTooLarge marks an event larger than the broker takes: a retry would fail again.
var ErrTooLarge = errors.New("too large for the broker")

// errNoOutcome replaces an outcome that the publisher did not return: the fate of the event is unknown.
var errNoOutcome = errors.New("the publisher gave no outcome")

const (
	// publishTimeout bounds the wait for the broker, during which the relay holds its shard.
	publishTimeout = 10 * time.Second
	// batchSize is the maximum number of rows in a batch.
	batchSize = 1000
	// retryShare bounds the retries in a batch to 1/retryShare of its rows: if the broker refuses them again, one at a time,
	// they do not hold up new rows for long.
	retryShare = 10
	// fewHeld is the number of held-back new rows per shard that a pass skips, since skipping them is cheaper than writing;
	// more are set aside until the attempt that they wait for.
	fewHeld = 50
	// maxAttempts is the number of refusals after which a row is parked.
	maxAttempts = 10

	firstBackoff = time.Second
	maxBackoff   = 5 * time.Minute
)

// Backoff returns the wait before the next attempt after n refusals, n from 1: one second, doubled each time, at most five
// minutes, multiplied by jitter in [0, 1) (full jitter).
func Backoff(n int, jitter float64) time.Duration {
	ceiling := maxBackoff
	if shift := n - 1; shift < 9 {
		ceiling = min(maxBackoff, firstBackoff<<shift)
	}
	return time.Duration(jitter * float64(ceiling))
}

// Relay publishes the rows of an outbox. Any number of relays may work on one outbox, in any number of processes.
type Relay struct {
	// DB is a pool of the outbox's schema with a short wait_timeout on the server, so that a frozen relay loses its shard.
	DB        *sql.DB
	Publisher Publisher
	Now       func() time.Time
	// Metrics counts the batches of Schema; it may be nil.
	Metrics *metrics.Metrics
	Schema  string
	// DueOnly leaves the new rows to a connector, and publishes only those whose next attempt is due.
	DueOnly bool
}

// Sweep publishes the due rows of the given shards, or of all, until none is due, and returns the number of acknowledged
// events. It stops at the first error: the rows stay as they are and the next sweep finds them.
func (r Relay) Sweep(ctx context.Context, shards ...uint8) (sent int, err error) {
	if len(shards) == 0 {
		if shards, err = messaging.New(r.DB).ListPendingShards(ctx, AllShards()); err != nil {
			return 0, fmt.Errorf("list the shards with events to send: %w", err)
		}
	}
	return r.sweep(ctx, shards)
}

func (r Relay) sweep(ctx context.Context, shards []uint8) (sent int, err error) {
	for len(shards) > 0 {
		p, err := r.pass(ctx, shards)
		sent += p.sent
		if err != nil {
			return sent, fmt.Errorf("relay shards %v: %w", shards, err)
		}
		if shards, err = r.next(ctx, p); err != nil {
			return sent, err
		}
		if len(shards) > Shards/2 && p.rows >= batchSize/2 {
			n, err := r.inHalves(ctx, shards)
			return sent + n, err
		}
	}
	return sent, nil
}

// inHalves drains a backlog with two sweeps, each for half of the shards: while one waits for the database or the broker,
// the other uses the CPU.
func (r Relay) inHalves(ctx context.Context, shards []uint8) (sent int, err error) {
	var other sync.WaitGroup
	var theirs int
	var failed error
	middle := len(shards) / 2
	other.Go(func() { theirs, failed = r.sweep(ctx, shards[middle:]) })
	ours, err := r.sweep(ctx, shards[:middle:middle])
	other.Wait()
	return ours + theirs, errors.Join(err, failed)
}

// passed is the result of a pass.
type passed struct {
	claimed []uint8 // the shards that no other relay had claimed
	rows    int     // the number of rows that it sent or set aside
	sent    int     // the number of acknowledged rows
}

// next returns the shards for the next pass: those of the last pass that still have rows, or have new ones. It queries after
// the claims have ended, since a relay that was poked meanwhile skipped the claimed shards. It returns none after a pass
// that had nothing to do: the remaining rows wait for a retry.
func (r Relay) next(ctx context.Context, p passed) ([]uint8, error) {
	if p.rows == 0 {
		return nil, nil
	}
	pending, err := messaging.New(r.DB).ListPendingShards(ctx, p.claimed)
	if err != nil {
		return nil, fmt.Errorf("list the shards with more events to send: %w", err)
	}
	return pending, nil
}

// pass sends one batch in one transaction: claim the shards that no other relay has, read the due rows, publish, mark each
// row by its own outcome, commit. The claims last until the commit, so no other relay sends a later event of the same
// aggregate meanwhile. A crash leaves the rows as they were, so published events are published again.
func (r Relay) pass(ctx context.Context, shards []uint8) (p passed, err error) {
	begin := time.Now()
	var rows []row
	var held []heldRow
	var outcomes []Outcome
	err = transaction.Once(ctx, r.DB, func(ctx context.Context, tx *transaction.Tx) error {
		q := messaging.New(tx)
		claimed, pages, err := r.claim(ctx, q, shards)
		if p.claimed = claimed; err != nil {
			return err
		}
		for i, shard := range claimed {
			some, behind, err := due(ctx, q, shard, batchSize/len(claimed), pages[i])
			if err != nil {
				return err
			}
			rows, held = append(rows, some...), append(held, behind...)
		}
		if len(rows)+len(held) == 0 {
			return nil
		}
		deferred := messaging.New(tx.Deferred())
		if err := holdBack(ctx, deferred, held); err != nil {
			return err
		}
		failpoint.Pass(ctx, failpoint.BeforePublish)
		outcomes = r.publish(ctx, rows)
		failpoint.Pass(ctx, failpoint.AfterPublish)
		if err := mark(ctx, deferred, rows, outcomes, r.Now()); err != nil {
			return err
		}
		failpoint.Pass(ctx, failpoint.AfterMark)
		return nil
	})
	if p.rows = len(rows) + len(held); err != nil || p.rows == 0 {
		return passed{claimed: p.claimed}, err
	}
	failpoint.Pass(ctx, failpoint.AfterRelay)
	batch := counted(rows, outcomes)
	p.sent = len(batch.Sent)
	if len(rows) > 0 {
		r.Metrics.CountBatch(r.Schema, batch, time.Since(begin))
	}
	for _, o := range outcomes {
		if o.Err != nil && !refused(o.Err) {
			return p, fmt.Errorf("publish: %w", o.Err)
		}
	}
	return p, nil
}

// refused returns whether the broker refused an event for what it is.
func refused(err error) bool { return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrRefused) }

// counted returns a batch as the metrics count it.
func counted(rows []row, outcomes []Outcome) (b metrics.Batch) {
	for i, o := range outcomes {
		switch {
		case o.Err == nil:
			b.Sent = append(b.Sent, rows[i].event)
		case refused(o.Err):
			b.Refused++
		default:
			b.Unknown++
		}
	}
	return b
}

func (r Relay) publish(ctx context.Context, rows []row) []Outcome {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	outcomes := make([]Outcome, len(rows))
	var batch []event.Event
	var indices []int
	for i, row := range rows {
		if row.err != nil {
			outcomes[i].Err = fmt.Errorf("%w: %w", ErrRefused, row.err)
			continue
		}
		batch = append(batch, row.event)
		indices = append(indices, i)
	}
	for i, answer := range publish(ctx, r.Publisher, batch) {
		outcomes[indices[i]] = answer
	}
	return outcomes
}

// publish publishes a batch and returns one outcome for each event.
func publish(ctx context.Context, p Publisher, batch []event.Event) []Outcome {
	if len(batch) == 0 {
		return nil
	}
	sent := tracing.Publish(ctx, batch)
	outcomes := p.Publish(ctx, batch)
	for i := range batch {
		if i >= len(outcomes) {
			outcomes = append(outcomes, Outcome{Err: errNoOutcome})
		}
		sent(i, outcomes[i].Err)
	}
	return outcomes[:len(batch)]
}

// mark records the outcome of each row. A row with an unknown fate stays as it is.
func mark(ctx context.Context, q *messaging.Queries, rows []row, outcomes []Outcome, now time.Time) error {
	var acknowledged []messaging.Sent
	var waiting []messaging.InsertWaitingParams
	for i, row := range rows {
		switch o := outcomes[i]; {
		case o.Err == nil:
			acknowledged = append(acknowledged, messaging.Sent{ID: row.id, Partition: o.Partition, Offset: o.Offset, At: now})
		case refused(o.Err):
			waits, err := refuse(ctx, q, row, o.Err)
			if err != nil {
				return err
			}
			if waits {
				waiting = append(waiting, messaging.InsertWaitingParams{ID: row.id, AggregateID: row.aggregate})
				continue
			}
		default:
			continue
		}
		if row.waited {
			if err := q.DeleteWaiting(ctx, row.id); err != nil {
				return fmt.Errorf("mark row %d as no longer waiting: %w", row.id, err)
			}
		}
	}
	if err := q.InsertAllWaiting(ctx, waiting); err != nil {
		return fmt.Errorf("mark %d rows as waiting: %w", len(waiting), err)
	}
	if err := q.MarkSent(ctx, acknowledged); err != nil {
		return fmt.Errorf("mark %d rows as sent: %w", len(acknowledged), err)
	}
	return nil
}

// holdBack sets rows aside until the next attempt of the rows that hold them back.
func holdBack(ctx context.Context, q *messaging.Queries, held []heldRow) error {
	waiting := make([]messaging.InsertWaitingParams, len(held))
	for i, h := range held {
		if err := q.HoldBack(ctx, messaging.HoldBackParams{ID: h.ID, NextAttemptAt: &h.until}); err != nil {
			return fmt.Errorf("hold back row %d: %w", h.ID, err)
		}
		waiting[i] = h.InsertWaitingParams
	}
	if err := q.InsertAllWaiting(ctx, waiting); err != nil {
		return fmt.Errorf("mark %d rows as held back: %w", len(waiting), err)
	}
	return nil
}

// refuse counts an attempt of a row and returns whether another one follows; otherwise it parks the row.
func refuse(ctx context.Context, q *messaging.Queries, row row, reason error) (waits bool, err error) {
	text := reason.Error()
	// Cut to the column's width, but never inside a character, which the server would refuse.
	text = strings.ToValidUTF8(text[:min(len(text), 500)], "")
	n := row.attempts + 1
	if waits = n < maxAttempts && !errors.Is(reason, ErrTooLarge); waits {
		err = q.RecordRefusal(ctx, messaging.RecordRefusalParams{
			ID: row.id, LastError: &text, WaitMicros: int(Backoff(n, rand.Float64()).Microseconds()),
		})
	} else {
		err = q.Park(ctx, messaging.ParkParams{ID: row.id, LastError: &text})
	}
	if err != nil {
		return false, fmt.Errorf("record that row %d was refused: %w", row.id, err)
	}
	return waits, nil
}
