package audit

import (
	"context"
	"fmt"

	"example.com/orders/sql/messaging"
)

// target is a partition to which the rows of an outbox were sent.
type target struct {
	outbox string
	place
	// next is the lowest offset that some consumer group has not handled; unconsumed if no group reads the topic.
	next int64
	part *part // nil until the topics are read, and of a partition that does not exist
}

const unconsumed = int64(-1)

// sentRow is a row with the place of its record: a million of them take 32 MB.
type sentRow struct {
	event       uint64 // the hash of the event
	row, offset int64
	target      int32 // index into the targets
}

// checkSent looks up a sent event in its topic, or notes it until the topics are read. It returns whether a consumer group has not
// handled it, as far as known.
func (a *auditor) checkSent(name, source, id string, order uint64, row messaging.WalkEventsRow) (waits bool) {
	if a.topics == nil {
		return false
	}
	a.sent.count("sent", 1)
	if row.KafkaPartition == nil || row.KafkaOffset == nil {
		a.sent.breach("row %d in the outbox of %s is SENT without a position", row.ID, name)
		return false
	}
	if *row.KafkaOffset < 0 {
		// A KafkaSink acknowledges without the position: see package kafkasink.
		a.sent.count("sent through a KafkaSink, place unknown", 1)
		return false
	}
	s := sentRow{event: a.hashes.of(source, id), row: row.ID, offset: *row.KafkaOffset}
	s.target = a.targetOf(name, place{a.o.TopicPrefix + row.Type, int32(*row.KafkaPartition)})
	next := a.targets[s.target].next
	if waits = next != unconsumed && s.offset >= next; waits {
		a.waiting[order] = struct{}{}
	}
	a.deferred = append(a.deferred, s)
	return waits
}

// targetOf returns the index of a target, which it adds if it is new.
func (a *auditor) targetOf(outbox string, at place) int32 {
	for i := range a.targets {
		if t := &a.targets[i]; t.place == at && t.outbox == outbox {
			return int32(i)
		}
	}
	next, ok := a.consumed[at]
	if !ok {
		next = unconsumed
	}
	a.targets = append(a.targets, target{outbox: outbox, place: at, next: next})
	return int32(len(a.targets) - 1)
}

// checkDeferred looks up the noted rows in their topics.
func (a *auditor) checkDeferred(ctx context.Context, records *records) error {
	for i := range a.targets {
		a.targets[i].part = records.parts[a.targets[i].place]
	}
	for _, s := range a.deferred {
		t := &a.targets[s.target]
		where := func() string {
			return fmt.Sprintf("row %d in the outbox of %s is SENT to %s/%d/%d", s.row, t.outbox, t.topic, t.partition, s.offset)
		}
		switch {
		case t.part == nil:
			a.sent.breach("%s: no such partition", where())
		case s.offset < t.part.span.From:
			if s.offset >= t.part.oldest {
				a.cannotJudge("%s, before the records that are read", where())
			}
			a.sent.count("past the topic's retention", 1)
		case s.offset >= t.part.span.To:
			a.sent.breach("%s: the partition ends at %d", where(), t.part.span.To)
		case t.part.events[s.offset-t.part.span.From].id != s.event:
			name, err := a.nameOf(ctx, t.outbox, s.row)
			if err != nil {
				return err
			}
			a.sent.breach("%s: %s is not there", where(), name)
		}
	}
	return nil
}

// nameOf reads a row of the snapshot again for the name of its event, or spares that when enough breaches are listed.
func (a *auditor) nameOf(ctx context.Context, outbox string, row int64) (string, error) {
	if len(a.sent.Breaches) == maxListed {
		return "", nil
	}
	conn, err := a.snapshot.use(ctx, outbox)
	if err != nil {
		return "", err
	}
	rows, err := messaging.New(conn).WalkEventsOf(ctx, []int64{row})
	if err != nil {
		return "", fmt.Errorf("read row %d of the outbox of %s again: %w", row, outbox, err)
	}
	id, source := identity(rows[0].Headers)
	return fmt.Sprintf("event %s of %s", id, source), nil
}
