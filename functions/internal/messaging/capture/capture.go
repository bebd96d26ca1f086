// Package capture follows an outbox whose events a connector publishes from the database's log. What proves that an event has
// left is its record: rows whose record is in its topic are marked as sent, with its position. Rows without one are left to a
// relay after a while.
package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/transaction"
)

const (
	// page is the number of rows in one query, and of those marked in one transaction.
	page = 1000
	// most bounds the rows that one pass looks for: 200 bytes each.
	most = 200_000
	// skew is how much earlier than its row a record may be, by the clocks of the database and of Kafka Connect.
	skew = 5 * time.Minute
)

// leftOut is the error of a row that the connector has not published in time.
const leftOut = "not published by change data capture in time: left to the relay"

// Follower marks the rows of one outbox as sent whose events a connector has published. Many goroutines may use it: one of
// them works at a time.
type Follower struct {
	DB          *sql.DB
	Brokers     []string
	Login       *kafka.Login // with which it reads the topics; nil is the process's own
	TopicPrefix string
	// Patience is how old a row may be that the connector has not published. Older ones are due for a relay: those that the
	// connector cannot express, those that the broker refuses, and all that a lost log had.
	Patience time.Duration
	Now      func() time.Time
	Log      *slog.Logger

	mu     sync.Mutex
	reader *kafka.Reader
	next   map[place]int64 // the offset from which the next pass reads
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// Passed is the result of a pass.
type Passed struct {
	Sent    int // rows whose record is there
	LeftOut int // rows that are due for a relay now
}

// unsent is a new row, without a record so far.
type unsent struct {
	messaging.InsertWaitingParams

	age time.Duration
}

// identity is what identifies an event.
type identity struct{ source, id string }

// Pass looks for the records of all new rows, up to a bound; Close ends its connections.
func (f *Follower) Pass(ctx context.Context) (p Passed, err error) {
	if !f.mu.TryLock() {
		return p, nil // another pass is under way
	}
	defer f.mu.Unlock()
	if pending, err := messaging.New(f.DB).ListPendingShards(ctx, outbox.AllShards()); err != nil || len(pending) == 0 {
		return p, err
	}
	// The ends come before the rows: the row of every record up to there is committed, so the next pass may begin there.
	ends, err := f.ends()
	if err != nil {
		return p, f.broken(err)
	}
	rows, topics, oldest, all, err := f.rows(ctx)
	if err != nil || len(rows) == 0 {
		return p, err
	}
	first, err := f.widen(topics, oldest)
	if err != nil {
		return p, f.broken(err)
	}
	sent, err := f.find(ctx, append(first, ends...), rows)
	if err != nil {
		return p, f.broken(err)
	}
	if p.Sent, err = f.mark(ctx, sent); err != nil {
		return p, err
	}
	if all { // else rows that were not listed may have a record in between
		for _, span := range ends {
			f.next[place{span.Topic, span.Partition}] = span.To
		}
	}
	p.LeftOut, err = f.leave(ctx, rows)
	if p.LeftOut > 0 {
		f.Log.WarnContext(ctx, "change data capture has not published events: the relay does", "count", p.LeftOut, "patience", f.Patience)
	}
	return p, err
}

// broken closes the connections after an error, so that the next pass makes new ones.
func (f *Follower) broken(err error) error {
	if f.reader != nil {
		err = errors.Join(err, f.reader.Close())
		f.reader = nil
	}
	return fmt.Errorf("look for published events: %w", err)
}

// ends returns what is to be read of the partitions that earlier passes have read. It forgets topics that were removed.
func (f *Follower) ends() (spans []kafka.Span, err error) {
	topics := map[string]bool{}
	for at := range f.next {
		topics[at.topic] = true
	}
	for topic := range topics {
		found, err := f.spans(topic)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			maps.DeleteFunc(f.next, func(at place, _ int64) bool { return at.topic == topic })
		}
		for _, span := range found {
			// What the topic no longer has cannot be found any more.
			span.From = max(span.From, f.next[place{topic, span.Partition}])
			spans = append(spans, span)
		}
	}
	return spans, nil
}

// spans returns the spans of a topic, none if it does not exist: a relay will say so of the rows for it.
func (f *Follower) spans(topic string) ([]kafka.Span, error) {
	if f.reader == nil {
		reader, err := kafka.NewReader(f.Brokers, f.Login)
		if err != nil {
			return nil, err
		}
		f.reader = reader
	}
	spans, err := f.reader.Spans(topic)
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return nil, nil
	}
	return spans, err
}

// widen returns the spans of the topics that no pass has read yet, from about the time of the oldest row. The next pass reads
// them again, since the rows of their last records may be younger than the list of rows.
func (f *Follower) widen(topics map[string]bool, oldest time.Time) (first []kafka.Span, err error) {
	if f.next == nil {
		f.next = map[place]int64{}
	}
	for topic := range topics {
		spans, err := f.spans(topic)
		if err != nil {
			return nil, err
		}
		for _, span := range spans {
			at := place{topic, span.Partition}
			if _, known := f.next[at]; known {
				continue
			}
			if span.From, err = f.reader.Since(topic, span.Partition, oldest.Add(-skew)); err != nil {
				return nil, err
			}
			f.next[at] = span.From
			first = append(first, span)
		}
	}
	return first, nil
}

// rows lists the new rows by their events, with the topics of these and the time of the oldest; all is false if there are
// more.
func (f *Follower) rows(ctx context.Context) (rows map[identity]unsent, topics map[string]bool, oldest time.Time, all bool, err error) {
	rows, topics = map[identity]unsent{}, map[string]bool{}
	q := messaging.New(f.DB)
	for _, shard := range outbox.AllShards() {
		for after := int64(0); ; {
			if len(rows) >= most {
				return rows, topics, oldest, false, nil
			}
			found, err := q.ListUnconfirmed(ctx, messaging.ListUnconfirmedParams{Shard: shard, ID: after, Limit: page})
			if err != nil {
				return nil, nil, oldest, false, fmt.Errorf("list the rows to confirm: %w", err)
			}
			for _, row := range found {
				after = row.ID
				rows[identityOfRow(row.ID, row.Headers)] = unsent{
					messaging.InsertWaitingParams{ID: row.ID, AggregateID: row.AggregateID}, time.Duration(row.AgeMicros) * time.Microsecond,
				}
				topics[f.TopicPrefix+row.Type] = true
				if oldest.IsZero() || row.CreatedAt.Before(oldest) {
					oldest = row.CreatedAt
				}
			}
			if len(found) < page {
				break
			}
		}
	}
	return rows, topics, oldest, true, nil
}

// find reads spans, removes the rows whose record is there, and returns them with its position.
func (f *Follower) find(ctx context.Context, spans []kafka.Span, rows map[identity]unsent) (sent []messaging.Sent, err error) {
	var mu sync.Mutex
	var reading sync.WaitGroup
	errs := make(chan error, len(spans))
	for _, span := range spans {
		reading.Go(func() {
			errs <- f.reader.Read(ctx, span, func(m *sarama.ConsumerMessage) error {
				of := identityOf(m)
				mu.Lock()
				defer mu.Unlock()
				if row, ok := rows[of]; ok {
					delete(rows, of)
					sent = append(sent, messaging.Sent{ID: row.ID, Partition: m.Partition, Offset: m.Offset, At: f.Now()})
				}
				return nil
			})
		})
	}
	reading.Wait()
	close(errs)
	for one := range errs {
		err = errors.Join(err, one)
	}
	return sent, err
}

func identityOf(m *sarama.ConsumerMessage) (of identity) {
	for _, h := range m.Headers {
		switch string(h.Key) {
		case "ce_id":
			of.id = string(h.Value)
		case "ce_source":
			of.source = string(h.Value)
		}
	}
	return of
}

func (f *Follower) mark(ctx context.Context, sent []messaging.Sent) (marked int, err error) {
	for ; len(sent) > 0; sent = sent[min(page, len(sent)):] {
		some := sent[:min(page, len(sent))]
		err := transaction.Run(ctx, f.DB, func(ctx context.Context, tx *transaction.Tx) error {
			return messaging.New(tx).MarkSent(ctx, some)
		})
		if err != nil {
			return marked, fmt.Errorf("mark %d rows as sent: %w", len(some), err)
		}
		marked += len(some)
	}
	return marked, nil
}

// leave makes the rows due for a relay that are older than the connector may take.
func (f *Follower) leave(ctx context.Context, rows map[identity]unsent) (left int, err error) {
	reason := leftOut
	for _, row := range rows {
		if row.age < f.Patience {
			continue
		}
		err := transaction.Run(ctx, f.DB, func(ctx context.Context, tx *transaction.Tx) error {
			q := messaging.New(tx)
			n, err := q.LeaveToRelay(ctx, messaging.LeaveToRelayParams{ID: row.ID, LastError: &reason})
			if err != nil || n == 0 {
				return err
			}
			return q.InsertAllWaiting(ctx, []messaging.InsertWaitingParams{row.InsertWaitingParams})
		})
		if err != nil {
			return left, fmt.Errorf("leave row %d to the relay: %w", row.ID, err)
		}
		left++
	}
	return left, nil
}

// Close closes the connections.
func (f *Follower) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader == nil {
		return nil
	}
	err := f.reader.Close()
	f.reader = nil
	return err
}
