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

// maxFact is more than any order has: it is confirmed or failed, and perhaps canceled; its money is held, and returned.
const maxFact = 15

// counted are the sources whose facts about an order are counted, in a row of the schema of the same name.
var counted = []string{events.OrdersSource, events.InventorySource, events.PaymentsSource}

// sourceOf is the source of a schema's own events.
func sourceOf(schema string) string { return "/" + schema }

// belongs tells whether an outbox may hold events of a type and a source: the schema's own, and those of a family that nobody
// counts, whose source is named like it.
func belongs(schema, source, eventType string) bool {
	family, _, _ := strings.Cut(eventType, ".")
	return source == sourceOf(schema) || source == "/"+family && !slices.Contains(counted, source)
}

// outboxRows is a page of the rows of an outbox.
type outboxRows struct {
	schema string
	rows   []messaging.WalkEventsRow
	again  bool // an incremental audit knows their facts, and not what has become of them
}

// walkOutboxes records the emitted facts and checks the sent ones.
func (a *auditor) walkOutboxes(ctx context.Context) error {
	exceptions := map[string][]*Exception{}
	for _, name := range a.o.Wiring.Outboxes() {
		exceptions[name] = []*Exception{{Kind: Parked, Where: name}, {Kind: Discarded, Where: name}}
	}
	if err := readAhead(ctx, a.readOutboxes, func(page outboxRows) error {
		for _, row := range page.rows {
			a.checkRow(page, row, exceptions[page.schema][0], exceptions[page.schema][1])
		}
		return nil
	}); err != nil {
		return err
	}
	for _, name := range a.o.Wiring.Outboxes() {
		for _, e := range exceptions[name] {
			if e.Count > 0 {
				a.exceptions = append(a.exceptions, *e)
			}
		}
	}
	return nil
}

// readOutboxes yields the rows of all outboxes.
func (a *auditor) readOutboxes(ctx context.Context, yield func(outboxRows) error) error {
	for _, name := range a.o.Wiring.Outboxes() {
		conn, err := a.snapshot.use(ctx, name)
		if err != nil {
			return err
		}
		q := messaging.New(conn)
		if err := a.readOpenRows(ctx, q, name, yield); err != nil {
			return err
		}
		after := int64(0)
		if from := a.since(); from != nil {
			after = from.Outboxes[name]
		}
		for {
			rows, err := q.WalkEvents(ctx, messaging.WalkEventsParams{ID: after, Limit: eventPage})
			if err != nil {
				return fmt.Errorf("walk through the outbox of %s: %w", name, err)
			}
			if err := yield(outboxRows{schema: name, rows: rows}); err != nil {
				return err
			}
			if len(rows) < eventPage {
				break
			}
			after = rows[len(rows)-1].ID
		}
	}
	return nil
}

// readOpenRows yields the rows of an outbox that are known and may have changed. What is no longer there was sent and purged.
func (a *auditor) readOpenRows(ctx context.Context, q *messaging.Queries, name string, yield func(outboxRows) error) error {
	for some := range slices.Chunk(a.since().rows(name), listed) {
		rows, err := q.WalkEventsOf(ctx, some)
		if err != nil {
			return fmt.Errorf("read rows of the outbox of %s again: %w", name, err)
		}
		page := outboxRows{schema: name, again: true}
		for _, row := range rows {
			page.rows = append(page.rows, messaging.WalkEventsRow(row))
		}
		if err := yield(page); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) checkRow(of outboxRows, row messaging.WalkEventsRow, parked, discarded *Exception) {
	name, order := of.schema, a.hashes.of(row.AggregateID)
	var id, source string
	if of.again {
		id, source = identity(row.Headers)
	} else {
		id, source = a.fact(name, order, row)
	}
	open := true // what becomes of the row is not known yet
	switch {
	case row.Status == messaging.OutboxStatusSENT:
		open = a.checkSent(name, source, id, order, row)
	case row.Status == messaging.OutboxStatusDISCARDED:
		a.except(discarded, row)
	case row.Status == messaging.OutboxStatusERROR && row.NextAttemptAt == nil:
		a.except(parked, row)
	default:
		a.waiting[order] = struct{}{}
		if a.topics != nil && a.o.Wiring.Captures() {
			a.unmarked = append(a.unmarked, a.hashes.of(source, id))
		} else {
			a.emitted.count(toBeSent, 1)
		}
	}
	a.noteRow(of, row, source, id, open)
}

// What rows wait for that are neither sent nor left to an operator.
const (
	toBeSent   = "rows to be sent"
	toBeMarked = "rows to be marked as sent" // a connector has published their event, and what follows it has not come there yet
)

// checkUnmarked looks for the records of the rows that a connector publishes and nobody has marked yet.
func (a *auditor) checkUnmarked(records *records) {
	for _, event := range a.unmarked {
		if records.hasHash(event) {
			a.emitted.count(toBeMarked, 1)
		} else {
			a.emitted.count(toBeSent, 1)
		}
	}
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

// fact records the fact of a row about an order, given by its hash, and returns the event's id and source, empty when the row
// has no such attributes.
func (a *auditor) fact(name string, hash uint64, row messaging.WalkEventsRow) (id, source string) {
	a.emitted.count("rows", 1)
	id, source = identity(row.Headers)
	order, n, err := events.ParseID(id)
	if err != nil || order != row.AggregateID || !belongs(name, source, row.Type) || n > maxFact {
		a.emitted.breach("row %d in the outbox of %s is not a fact about order %s: its event is %q of %q", row.ID, name, row.AggregateID, id, source)
		return id, source
	}
	if a.facts[source] == nil {
		a.facts[source], a.outboxes[source] = &factTable{}, name
	}
	known := a.facts[source].of(hash)
	if known.mask&(1<<n) != 0 || a.since().known(source, row.AggregateID)&(1<<n) != 0 {
		a.once.breach("event %s of %s is in the outbox twice, again as row %d", id, source, row.ID)
	}
	known.mask |= 1 << n
	known.row = row.ID
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
