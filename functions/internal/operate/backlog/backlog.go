// Package backlog lists the unsent rows of an outbox for operators, requeues or discards parked ones, and purges old ones.
// It records each action in the schema operations.
package backlog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/orders/functions/internal/messaging/capture"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/transaction"
)

// State is the state of a row as an operator sees it.
type State string

// The states.
const (
	New       State = "new"       // not sent yet
	Waiting   State = "waiting"   // refused, and retried at its next attempt: status ERROR
	Parked    State = "parked"    // refused for good: status ERROR without a next attempt; it holds back nothing
	Sent      State = "sent"      // acknowledged by the broker
	Discarded State = "discarded" // given up by an operator: never sent
)

// States lists all states.
var States = []State{New, Waiting, Parked, Sent, Discarded}

// Row is a row of an outbox.
type Row struct {
	ID          int64
	State       State
	AggregateID string
	Type        string
	CreatedAt   time.Time
	// Age is the time since it was stored, by the database's clock, in whole seconds.
	Age         time.Duration
	SentAt      *time.Time
	Attempts    int
	NextAttempt *time.Time
	LastError   string
}

// ErrUnchanged means that a row does not exist, or has a state that does not allow the change.
var ErrUnchanged = errors.New("the row was not changed")

// Operator manages the outbox of one schema.
type Operator struct {
	Schema string
	// DB is a pool of the schema, Operations one of the schema operations.
	DB, Operations *sql.DB
	// Actor is recorded as the author of each action.
	Actor string
}

// List returns at most limit rows of a state, oldest first, after an id.
func (o Operator) List(ctx context.Context, state State, after int64, limit int) ([]Row, error) {
	var found []Row
	for shard := range uint8(outbox.Shards) {
		rows, err := o.listShard(ctx, shard, state, after, limit)
		if err != nil {
			return nil, fmt.Errorf("list the %s rows of %s: %w", state, o.Schema, err)
		}
		found = append(found, rows...)
	}
	slices.SortFunc(found, func(a, b Row) int { return cmp.Compare(a.ID, b.ID) })
	return found[:min(limit, len(found))], nil
}

func (o Operator) listShard(ctx context.Context, shard uint8, state State, after int64, limit int) (found []Row, err error) {
	q := messaging.New(o.DB)
	if state == Waiting || state == New {
		rows, err := q.ListWaiting(ctx, messaging.ListWaitingParams{Shard: shard, Status: status[state], ID: after, Limit: int32(limit)})
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			found = append(found, describe(messaging.GetStateRow(row)))
		}
	}
	if state == Waiting {
		return found, nil
	}
	rows, err := q.ListByStatus(ctx, messaging.ListByStatusParams{Shard: shard, Status: status[state], ID: after, Limit: int32(limit)})
	for _, row := range rows {
		found = append(found, describe(messaging.GetStateRow(row)))
	}
	return found, err
}

// status maps each state to the status of its rows.
var status = map[State]messaging.OutboxStatus{
	New: messaging.OutboxStatusNEW, Waiting: messaging.OutboxStatusERROR, Parked: messaging.OutboxStatusERROR,
	Sent: messaging.OutboxStatusSENT, Discarded: messaging.OutboxStatusDISCARDED,
}

func describe(r messaging.GetStateRow) Row {
	row := Row{
		ID: r.ID, AggregateID: r.AggregateID, Type: r.Type, CreatedAt: r.CreatedAt, SentAt: r.SentAt,
		Age: time.Duration(r.AgeSeconds) * time.Second, Attempts: r.Attempts, NextAttempt: r.NextAttemptAt,
	}
	if r.LastError != nil {
		row.LastError = *r.LastError
	}
	switch r.Status {
	case messaging.OutboxStatusNEW:
		row.State = New
	case messaging.OutboxStatusSENT:
		row.State = Sent
	case messaging.OutboxStatusDISCARDED:
		row.State = Discarded
	case messaging.OutboxStatusERROR:
		row.State = Waiting
		if r.NextAttemptAt == nil {
			row.State = Parked
		}
	}
	return row
}

// Get returns one row; its error wraps ErrUnchanged if there is none.
func (o Operator) Get(ctx context.Context, id int64) (Row, error) {
	row, err := messaging.New(o.DB).GetState(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return Row{}, fmt.Errorf("%w: %s has no row %d", ErrUnchanged, o.Schema, id)
	}
	if err != nil {
		return Row{}, fmt.Errorf("read row %d of %s: %w", id, o.Schema, err)
	}
	return describe(row), nil
}

// Full is everything about a row.
type Full struct {
	Row

	Payload, Headers string // the event in the format of outbox.Decode: a row may be parked because it cannot be decoded
	Actions          []operations.OutboxAction
}

// Show returns one row, its event and the actions of operators, oldest first. Its error wraps ErrUnchanged if there is none.
func (o Operator) Show(ctx context.Context, id int64) (full Full, err error) {
	if full.Row, err = o.Get(ctx, id); err != nil {
		return full, err
	}
	stored, err := messaging.New(o.DB).GetStored(ctx, id)
	if err != nil {
		return full, fmt.Errorf("read the event of row %d of %s: %w", id, o.Schema, err)
	}
	full.Payload, full.Headers = stored.Payload, stored.Headers
	full.Actions, err = operations.New(o.Operations).ListOutboxActions(ctx, operations.ListOutboxActionsParams{SchemaName: o.Schema, RowID: &id})
	if err != nil {
		return full, fmt.Errorf("read the actions on row %d of %s: %w", id, o.Schema, err)
	}
	return full, nil
}

// Requeue makes a parked or discarded row due now, as if it had never been refused.
func (o Operator) Requeue(ctx context.Context, id int64, reason string) error {
	return o.change(ctx, operations.OutboxActionsActionREQUEUE, id, reason, func(ctx context.Context, id int64) (changed int64, err error) {
		err = transaction.Run(ctx, o.DB, func(ctx context.Context, tx *transaction.Tx) error {
			q := messaging.New(tx)
			if changed, err = q.Requeue(ctx, id); err != nil || changed == 0 {
				return err
			}
			return q.InsertRequeued(ctx, id)
		})
		return changed, err
	})
}

// Discard gives up a parked row: it is never sent, and stays in the outbox. A waiting row cannot be given up, since a relay
// may be sending it.
func (o Operator) Discard(ctx context.Context, id int64, reason string) error {
	return o.change(ctx, operations.OutboxActionsActionDISCARD, id, reason, messaging.New(o.DB).Discard)
}

func (o Operator) change(ctx context.Context, action operations.OutboxActionsAction, id int64, reason string, do func(context.Context, int64) (int64, error)) error {
	recorded, err := o.begin(ctx, action, &id, reason)
	if err != nil {
		return err
	}
	changed, err := do(ctx, id)
	if err == nil && changed == 0 {
		var row Row
		if row, err = o.Get(ctx, id); err == nil {
			err = fmt.Errorf("%w: row %d of %s is %s", ErrUnchanged, id, o.Schema, row.State)
		}
	}
	return o.end(ctx, recorded, "done", err)
}

// Purge deletes the rows that were sent before a time, in small steps, and returns their number.
func (o Operator) Purge(ctx context.Context, before time.Time) (int64, error) {
	recorded, err := o.begin(ctx, operations.OutboxActionsActionPURGE, nil, "sent before "+before.UTC().Format(time.RFC3339))
	if err != nil {
		return 0, err
	}
	deleted, err := outbox.Purge(ctx, o.DB, before)
	return deleted, o.end(ctx, recorded, fmt.Sprintf("%d rows deleted", deleted), err)
}

// Resend makes the rows due again that were stored since a time and whose event has no record in its topic, and returns their
// number.
func (o Operator) Resend(ctx context.Context, topics *capture.Follower, since time.Time, missing []capture.Missing) (int, error) {
	recorded, err := o.begin(ctx, operations.OutboxActionsActionREQUEUE, nil, "without a record since "+since.UTC().Format(time.RFC3339))
	if err != nil {
		return 0, err
	}
	n, err := topics.Resend(ctx, missing)
	return n, o.end(ctx, recorded, fmt.Sprintf("%d rows are due again", n), err)
}

// CountSent returns the number of rows that were sent before a time.
func (o Operator) CountSent(ctx context.Context, before time.Time) (int64, error) {
	n, err := messaging.New(o.DB).CountSentBefore(ctx, &before)
	if err != nil {
		return 0, fmt.Errorf("count the sent rows of %s: %w", o.Schema, err)
	}
	return n, nil
}

// Outcome returns the outcome of an action, as far as it is recorded.
func Outcome(a operations.OutboxAction) string {
	if a.Outcome == nil {
		return "not known"
	}
	return *a.Outcome
}

// begin records an action before it is done. The two schemas may be on different servers one day, so no transaction spans
// them: an action without an outcome may have been done, and can be repeated.
func (o Operator) begin(ctx context.Context, action operations.OutboxActionsAction, row *int64, detail string) (int64, error) {
	id, err := operations.New(o.Operations).InsertOutboxAction(ctx, operations.InsertOutboxActionParams{
		SchemaName: o.Schema, RowID: row, Action: action, Detail: oneline.Of(detail, 500), Actor: oneline.Of(o.Actor, operations.MaxActor),
	})
	if err != nil {
		return 0, fmt.Errorf("record %s (harness migrate creates the schema): %w", action, err)
	}
	return id, nil
}

// end records the outcome, even if ctx has ended meanwhile.
func (o Operator) end(ctx context.Context, id int64, outcome string, failed error) error {
	if failed != nil {
		outcome = oneline.Of(failed.Error(), 500)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := operations.New(o.Operations).SetOutboxOutcome(ctx, operations.SetOutboxOutcomeParams{Outcome: &outcome, ID: id})
	if err != nil {
		err = fmt.Errorf("record the outcome %q: %w", outcome, err)
	}
	return errors.Join(failed, err)
}
