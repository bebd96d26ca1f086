package operations

import (
	"context"
	"encoding/json"
	"fmt"

	"example.com/orders/sql/bulk"
)

// InsertLetterActions records several actions on dead letters with one statement, in this order.
func (q *Queries) InsertLetterActions(ctx context.Context, actions []InsertLetterActionParams) error {
	return bulk.Insert(ctx, q.db, insertLetterAction, actions, func(a InsertLetterActionParams) []any {
		return []any{
			a.Topic, a.KafkaPartition, a.KafkaOffset, a.Consumer, a.EventSource, a.EventID, a.Action, a.Attempts, a.Status, a.Detail, a.Actor,
		}
	})
}

// LetterPlace is the position of a dead letter.
type LetterPlace struct {
	Topic     string
	Partition int32
	Offset    int64
}

// listActionsOfLetters is handwritten since sqlc does not parse JSON_TABLE. The straight join and the forced index make every
// server look up the letters one by one, however few actions there are.
const listActionsOfLetters = `-- name: ListActionsOfLetters :many
SELECT a.id, a.topic, a.kafka_partition, a.kafka_offset, a.consumer, a.event_source, a.event_id, a.action, a.attempts, a.status, a.detail, a.actor, a.at
FROM JSON_TABLE(?, '$[*]' COLUMNS (
    topic VARCHAR(249) PATH '$[0]', kafka_partition INT PATH '$[1]', kafka_offset BIGINT PATH '$[2]')) s
  STRAIGHT_JOIN dead_letter_actions a FORCE INDEX (dead_letter_actions_place)
  ON a.topic = CONVERT(s.topic USING ascii) COLLATE ascii_bin AND a.kafka_partition = s.kafka_partition AND a.kafka_offset = s.kafka_offset
ORDER BY a.id`

// ListActionsOfLetters lists the actions on several dead letters with one statement, oldest first.
func (q *Queries) ListActionsOfLetters(ctx context.Context, places []LetterPlace) (actions []DeadLetterAction, err error) {
	rows := make([][3]any, len(places))
	for i, p := range places {
		rows[i] = [3]any{p.Topic, p.Partition, p.Offset}
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return nil, fmt.Errorf("encode the list of dead letters: %w", err)
	}
	found, err := q.db.QueryContext(ctx, listActionsOfLetters, string(list))
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }() // Err has the reason
	for found.Next() {
		var a DeadLetterAction
		if err := found.Scan(&a.ID, &a.Topic, &a.KafkaPartition, &a.KafkaOffset, &a.Consumer, &a.EventSource, &a.EventID,
			&a.Action, &a.Attempts, &a.Status, &a.Detail, &a.Actor, &a.At); err != nil {
			return nil, err
		}
		actions = append(actions, a)
	}
	return actions, found.Err()
}
