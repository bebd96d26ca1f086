package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/orders/events"
	"example.com/orders/sql/messaging"
)

// eventPage is the number of outbox rows in one query.
const eventPage = 5000

// emittedFacts records which facts of an order have outbox rows: bit n for the fact n.
type emittedFacts struct {
	mask uint32
	row  int64 // one of the rows, to name it in a breach
}

// maxFact is more than any order has: it is confirmed or failed, and perhaps canceled.
const maxFact = 31

// counted are the sources whose facts about an order are counted, in a row of the schema of the same name.
var counted = []string{events.OrdersSource, events.InventorySource}

// sourceOf is the source of a schema's own events.
func sourceOf(schema string) string { return "/" + schema }

// belongs tells whether an outbox may hold events of a type and a source: the schema's own, and those of a family that nobody
// counts, whose source is named like it.
func belongs(schema, source, eventType string) bool {
	family, _, _ := strings.Cut(eventType, ".")
	return source == sourceOf(schema) || source == "/"+family && !slices.Contains(counted, source)
}

// walkOutboxes records the emitted facts and checks the sent ones.
func (a *auditor) walkOutboxes(ctx context.Context) error {
	for _, name := range a.o.Wiring.Outboxes() {
		if err := a.snapshot.use(ctx, name); err != nil {
			return err
		}
		parked := Exception{Kind: Parked, Where: name}
		discarded := Exception{Kind: Discarded, Where: name}
		q := messaging.New(a.snapshot.conn)
		for after := int64(0); ; {
			rows, err := q.WalkEvents(ctx, messaging.WalkEventsParams{ID: after, Limit: eventPage})
			if err != nil {
				return fmt.Errorf("walk through the outbox of %s: %w", name, err)
			}
			for _, row := range rows {
				after = row.ID
				id, source := a.fact(name, row)
				switch {
				case row.Status == messaging.OutboxStatusSENT:
					a.checkSent(name, source, id, row)
				case row.Status == messaging.OutboxStatusDISCARDED:
					a.except(&discarded, row)
				case row.Status == messaging.OutboxStatusERROR && row.NextAttemptAt == nil:
					a.except(&parked, row)
				default:
					a.emitted.count("rows to be sent", 1)
					a.waiting[a.hashes.of(row.AggregateID)] = struct{}{}
				}
			}
			if len(rows) < eventPage {
				break
			}
		}
		for _, e := range []Exception{parked, discarded} {
			if e.Count > 0 {
				a.exceptions = append(a.exceptions, e)
			}
		}
	}
	return nil
}

func (a *auditor) except(e *Exception, row messaging.WalkEventsRow) {
	e.Count++
	a.explained[a.hashes.of(row.AggregateID)] = struct{}{}
	if len(e.Examples) < maxExamples {
		reason := "no reason"
		if row.LastError != nil {
			reason = *row.LastError
		}
		e.Examples = append(e.Examples, fmt.Sprintf("row %d: %s of order %s: %s", row.ID, row.Type, row.AggregateID, reason))
	}
}

// fact records the fact of a row and returns the event's id and source, empty when the row has no such attributes.
func (a *auditor) fact(name string, row messaging.WalkEventsRow) (id, source string) {
	a.emitted.count("rows", 1)
	id, source = identity(row.Headers)
	order, n, err := events.ParseID(id)
	if err != nil || order != row.AggregateID || !belongs(name, source, row.Type) || n > maxFact {
		a.emitted.breach("row %d in the outbox of %s is not a fact about order %s: its event is %q of %q", row.ID, name, row.AggregateID, id, source)
		return id, source
	}
	key := a.hashes.of(order)
	if a.facts[source] == nil {
		a.facts[source], a.outboxes[source] = map[uint64]emittedFacts{}, name
	}
	known := a.facts[source][key]
	if known.mask&(1<<n) != 0 {
		a.once.breach("event %s of %s is in the outbox twice, again as row %d", id, source, row.ID)
	}
	a.facts[source][key] = emittedFacts{known.mask | 1<<n, row.ID}
	return id, source
}

// identity returns the id and the source of an event from its stored attributes, empty if they cannot be read.
func identity(headers string) (id, source string) {
	// They come first: parsing the rest would take a third of an audit's time.
	if rest, ok := strings.CutPrefix(headers, `{"id":"`); ok {
		if id, rest, ok = strings.Cut(rest, `","source":"`); ok {
			if source, _, ok = strings.Cut(rest, `","`); ok && !strings.ContainsAny(id+source, "\"\\") {
				return id, source
			}
		}
	}
	var parsed struct{ ID, Source string }
	if err := json.Unmarshal([]byte(headers), &parsed); err != nil {
		return "", ""
	}
	return parsed.ID, parsed.Source
}

// checkSent looks up a sent event in its topic.
func (a *auditor) checkSent(name, source, id string, row messaging.WalkEventsRow) {
	if a.records == nil {
		return
	}
	a.sent.count("sent", 1)
	if row.KafkaPartition == nil || row.KafkaOffset == nil {
		a.sent.breach("row %d in the outbox of %s is SENT without a position", row.ID, name)
		return
	}
	if *row.KafkaOffset < 0 {
		// A KafkaSink acknowledges without the position: see package kafkasink.
		a.sent.count("sent through a KafkaSink, place unknown", 1)
		return
	}
	at, offset := place{a.o.TopicPrefix + row.Type, int32(*row.KafkaPartition)}, *row.KafkaOffset
	p := a.records.parts[at]
	where := fmt.Sprintf("row %d in the outbox of %s is SENT to %s/%d/%d", row.ID, name, at.topic, at.partition, offset)
	switch {
	case p == nil:
		a.sent.breach("%s: no such partition", where)
	case offset < p.span.From:
		a.sent.count("past the topic's retention", 1)
	case offset >= p.span.To:
		a.sent.breach("%s: the partition ends at %d", where, p.span.To)
	case p.events[offset-p.span.From].id != a.hashes.of(source, id):
		a.sent.breach("%s: event %s of %s is not there", where, id, source)
	}
	if next, ok := a.consumed[at]; ok && offset >= next {
		a.waiting[a.hashes.of(row.AggregateID)] = struct{}{}
	}
}
