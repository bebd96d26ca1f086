package messaging

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"example.com/orders/sql/bulk"
)

// InsertEvents stores several events to be sent, with one statement.
func (q *Queries) InsertEvents(ctx context.Context, events []InsertEventParams) error {
	return bulk.Insert(ctx, q.db, insertEvent, events, func(e InsertEventParams) []any {
		return []any{e.Shard, e.AggregateType, e.AggregateID, e.Type, e.Payload, e.Headers, e.CreatedAt, e.HoldMicros}
	})
}

// InsertAllWaiting marks rows as waiting for their next attempt, with one statement.
func (q *Queries) InsertAllWaiting(ctx context.Context, rows []InsertWaitingParams) error {
	return bulk.Insert(ctx, q.db, insertWaiting, rows, func(w InsertWaitingParams) []any { return []any{w.ID, w.AggregateID} })
}

// Sent is the position in its topic of a published outbox row, and when a broker acknowledged it.
type Sent struct {
	ID        int64
	Partition int32
	Offset    int64
	At        time.Time
}

// markSent is handwritten since sqlc does not parse JSON_TABLE. The straight join and the forced index make every server
// look up the rows by primary key, however few there are, and lock no others: a scan would wait for the rows of every open
// transaction.
const markSent = `-- name: MarkSent :exec
UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
    id BIGINT PATH '$[0]', kafka_partition INT PATH '$[1]', kafka_offset BIGINT PATH '$[2]', sent_at DATETIME(6) PATH '$[3]')) s
  STRAIGHT_JOIN outbox o FORCE INDEX (PRIMARY) ON o.id = s.id
SET o.status = 'SENT', o.sent_at = s.sent_at, o.next_attempt_at = NULL,
    o.kafka_partition = s.kafka_partition, o.kafka_offset = s.kafka_offset`

// MarkSent marks rows as acknowledged by the broker, with one statement.
func (q *Queries) MarkSent(ctx context.Context, sent []Sent) error {
	switch len(sent) {
	case 0:
		return nil
	case 1: // takes a third of the time
		partition := int(sent[0].Partition)
		return q.MarkOneSent(ctx, MarkOneSentParams{SentAt: &sent[0].At, KafkaPartition: &partition, KafkaOffset: &sent[0].Offset, ID: sent[0].ID})
	}
	rows := make([][4]any, len(sent))
	for i, s := range sent {
		rows[i] = [4]any{s.ID, s.Partition, s.Offset, s.At.UTC().Format("2006-01-02 15:04:05.000000")}
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("encode the list of sent rows: %w", err)
	}
	_, err = q.db.ExecContext(ctx, markSent, string(list))
	return err
}

// InsertAllHandled records several events as handled, with one statement.
func (q *Queries) InsertAllHandled(ctx context.Context, events []InsertHandledParams) error {
	return bulk.Insert(ctx, q.db, insertHandled, events, func(e InsertHandledParams) []any {
		return []any{e.Consumer, e.Source, e.EventID, e.ProcessedAt}
	})
}
