package audit

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
)

// An incremental audit reads what has changed since a checkpoint: the rows of the outboxes after those that it knows, the records
// after them, and wholly each order that is new, that one of these rows is about, or that was under way. What an order held before is
// known from its lines. The levels and stock_log, dead letters and losses are read wholly: they do not grow with the orders.
//
// It says less than a full audit. What happens to an order that has ended, without a fact about it, it does not see: a row
// that is changed by hand or lost, a mail that is sent again. It reads neither the gateway's ledger, nor all idempotency keys, which have
// a unique index. Whatever else it cannot judge, and each breach that it finds, makes it a full audit.

// newer is what an incremental audit adds to a checkpoint, and what a full one makes the first of.
type newer struct {
	from *Checkpoint // nil in a full audit
	next *Checkpoint

	again   map[uint64]bool     // the stable hashes of the events of the open rows
	touched map[string]struct{} // orders with rows that were read
	open    map[uint64]struct{} // orders, by their hash, that the next audit reads again
	taken   map[string]int64    // what the orders that are read again held, by SKU
	keep    map[place]int64     // from where on the next audit reads records again
	unclear string              // what only a full audit can judge
}

// RunSince audits what has changed since a checkpoint, and everything without one. It returns the next checkpoint; nil when
// there is a breach, or too much is under way. The error wraps ErrCheckpoint if the checkpoint is not of this stack.
func RunSince(ctx context.Context, o Options, from *Checkpoint) (*Report, *Checkpoint, error) {
	var why string
	if from != nil {
		var err error
		if why, err = from.unusable(o, o.Now()); err != nil {
			return nil, nil, fmt.Errorf("audit: %w", err)
		}
	}
	if from != nil && why == "" {
		report, n, err := run(ctx, o, &newer{from: from})
		if err != nil {
			return nil, nil, err
		}
		if report.Breaches() == 0 && n.unclear == "" {
			return report, n.next, nil
		}
		if why = n.unclear; report.Breaches() > 0 {
			why = "the incremental audit found a breach"
		}
	}
	report, n, err := run(ctx, o, &newer{})
	if err != nil {
		return nil, nil, err
	}
	report.Full = why
	return report, n.next, nil
}

// since returns the checkpoint of an incremental audit, nil in a full one.
func (a *auditor) since() *Checkpoint {
	if a.newer == nil {
		return nil
	}
	return a.newer.from
}

// prepare begins the next checkpoint.
func (n *newer) prepare(a *auditor) {
	n.next = &Checkpoint{
		At: a.at, FullAt: a.at, Stack: stackOf(a.o), Outboxes: map[string]int64{}, Held: map[string]int64{}, Known: &knownTable{},
		After: events.FirstOrderID(a.at.Add(-a.o.Margin)),
	}
	n.touched, n.open, n.taken, n.keep = map[string]struct{}{}, map[uint64]struct{}{}, map[string]int64{}, map[place]int64{}
	if n.from == nil {
		return
	}
	n.again = n.from.open()
	n.next.FullAt, n.next.Newest, n.next.NewestAt, n.next.Known = n.from.FullAt, n.from.Newest, n.from.NewestAt, n.from.Known.clone()
	if a.pays {
		a.gateway.Skipped = "only a full audit reads the gateway's ledger"
	}
}

// recognize fails if the stack has not what the checkpoint knows of it.
func (a *auditor) recognize(ctx context.Context) error {
	from := a.since()
	if from == nil || from.Newest == "" {
		return nil
	}
	conn, err := a.snapshot.use(ctx, schema.Orders)
	if err != nil {
		return err
	}
	rows, err := orders.New(conn).WalkOrdersOf(ctx, []string{from.Newest})
	if err != nil {
		return fmt.Errorf("look for an order of the checkpoint: %w", err)
	}
	if len(rows) == 0 || !rows[0].CreatedAt.Equal(from.NewestAt) {
		return from.foreign(fmt.Sprintf("it does not have order %s", from.Newest))
	}
	return nil
}

// newestPage is the number of rows from before the margin that prove that all earlier ones are from before it, too: the rows of a
// transaction that takes long have lower ids than those of later ones.
const newestPage = 1000

// cover finds up to which row each outbox is known after this audit: rows after it may be those of transactions that were
// not committed yet.
func (a *auditor) cover(ctx context.Context) error {
	for _, name := range a.o.Wiring.Outboxes() {
		conn, err := a.snapshot.use(ctx, name)
		if err != nil {
			return err
		}
		q := messaging.New(conn)
		known, found := int64(0), false
		for before, old := int64(math.MaxInt64), 0; old < newestPage; {
			rows, err := q.ListNewestEvents(ctx, messaging.ListNewestEventsParams{BeforeID: before, Limit: newestPage})
			if err != nil {
				return fmt.Errorf("find the newest rows in the outbox of %s: %w", name, err)
			}
			for _, row := range rows {
				before = row.ID
				if row.CreatedAt.After(a.at.Add(-a.o.Margin)) {
					old, found = 0, false
					continue
				}
				if old++; !found {
					known, found = row.ID, true
				}
			}
			if len(rows) < newestPage {
				break
			}
		}
		if from := a.since(); from != nil {
			known = max(known, from.Outboxes[name])
		}
		a.newer.next.Outboxes[name] = known
	}
	return nil
}

// keepOpen lets the next audit read an order again.
func (a *auditor) keepOpen(order string) {
	if a.newer != nil {
		a.newer.open[a.hashes.of(order)] = struct{}{}
	}
}

// noteRow adds a row of an outbox to the checkpoint.
func (a *auditor) noteRow(of outboxRows, row messaging.WalkEventsRow, source, id string, open bool) {
	n, name := a.newer, of.schema
	if n == nil {
		return
	}
	if n.from != nil {
		n.touched[row.AggregateID] = struct{}{}
	}
	covered := row.ID <= n.next.Outboxes[name]
	if covered && !of.again {
		if _, fact, err := events.ParseID(id); err == nil && fact <= maxFact {
			n.next.Known.add(source, row.AggregateID, fact)
		}
	}
	if covered && !open {
		return
	}
	n.open[a.hashes.of(row.AggregateID)] = struct{}{}
	if covered {
		n.next.Rows = append(n.next.Rows, OpenRow{name, row.ID, stable(source, id)})
	}
	if row.Status == messaging.OutboxStatusSENT && row.KafkaPartition != nil && row.KafkaOffset != nil && *row.KafkaOffset >= 0 {
		at := place{a.o.TopicPrefix + row.Type, int32(*row.KafkaPartition)}
		if offset, known := n.keep[at]; !known || *row.KafkaOffset < offset {
			n.keep[at] = *row.KafkaOffset
		}
	}
}

// noteOrder adds an order to the checkpoint, once it was checked.
func (a *auditor) noteOrder(v *view) {
	n := a.newer
	if n == nil {
		return
	}
	key := stable(v.id)
	if was := n.next.Known.find(key).state; was&(settled|holding) == settled|holding {
		for _, l := range v.lines {
			n.taken[l.sku] += l.wanted
		}
	}
	state := a.stateOf(v)
	if state == 0 {
		n.next.Orders = append(n.next.Orders, v.id)
	}
	if state&holding != 0 {
		for _, l := range v.lines {
			n.next.Held[l.sku] += l.held
		}
	}
	if state&settled != 0 && v.id > n.next.Newest {
		n.next.Newest, n.next.NewestAt = v.id, v.order.CreatedAt
	}
	n.next.Known.of(key).state = state
}

// stateOf returns whether an order has ended and nothing about it is missing or new, and whether it then holds its lines.
func (a *auditor) stateOf(v *view) knownState {
	if _, open := a.newer.open[a.hashes.of(v.id)]; open || v.order == nil || v.order.Status == orders.OrdersStatusPENDING {
		return 0
	}
	last := v.order.UpdatedAt
	if v.reservation != nil && v.reservation.UpdatedAt.After(last) {
		last = v.reservation.UpdatedAt
	}
	if row := v.paid.row; row != nil {
		if a.open(row) || row.Status == payments.PaymentsStatusPENDING {
			return 0
		}
		if row.UpdatedAt.After(last) {
			last = row.UpdatedAt
		}
	}
	if last.After(a.at.Add(-max(a.o.Margin, a.o.Grace))) {
		return 0
	}
	if v.holds() {
		return settled | holding
	}
	return settled
}

// addKnown adds to the units that were read in reservation_log what the orders hold that were not read.
func (a *auditor) addKnown() {
	from := a.since()
	if from == nil {
		return
	}
	for sku, units := range from.Held {
		a.logged[sku] += units
		a.newer.next.Held[sku] += units
	}
	for sku, units := range a.newer.taken {
		a.logged[sku] -= units
		a.newer.next.Held[sku] -= units
	}
}

// narrow leaves of the spans of the topics what the checkpoint has not read, or wants to be read again. Dead letters are read
// wholly: there are few, and any of them may be replayed.
func (a *auditor) narrow(reader *kafka.Reader, all []kafka.Span, isDeadLetters func(string) bool) error {
	n := a.newer
	if n == nil {
		return nil
	}
	known := map[place]TopicEnd{}
	if n.from != nil {
		known = n.from.ends()
	}
	for i, span := range all {
		at := place{span.Topic, span.Partition}
		end, seen := known[at]
		if span.To < end.Read {
			return n.from.foreign(fmt.Sprintf("%s/%d ends at %d, before the %d records that it has read", span.Topic, span.Partition, span.To, end.Read))
		}
		if seen && !isDeadLetters(span.Topic) {
			all[i].From = max(span.From, end.Keep)
		}
		keep := span.To
		if keep > max(span.From, end.Keep) { // else nothing came after what was too old to keep before
			since, err := reader.Since(span.Topic, span.Partition, a.at.Add(-a.o.Margin))
			if err != nil {
				return err
			}
			keep = min(since, span.To)
		}
		n.next.Topics = append(n.next.Topics, TopicEnd{Topic: span.Topic, Partition: span.Partition, Read: span.To, Keep: keep})
	}
	return nil
}

// listed is the number of ids in one statement. From 1000 on, MariaDB would make a table of them and join it.
const listed = 500

// readTouched yields the orders that are known and have changed or are under way. It returns the id after which all orders are
// read.
func (a *auditor) readTouched(ctx context.Context, yield func(*views) error) (after string, err error) {
	from := a.since()
	if from == nil {
		return "", nil
	}
	ids := slices.Clone(from.Orders)
	for id := range a.newer.touched {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" || id > from.After })
	for some := range slices.Chunk(ids, listed) {
		page := &views{byID: make(map[string]*view, len(some)), last: some[len(some)-1]}
		if err := a.readList(ctx, page, some); err != nil {
			return "", err
		}
		if err := yield(page); err != nil {
			return "", err
		}
	}
	return from.After, nil
}

// finish ends the checkpoint; there is none after a breach, or if too much is under way.
func (a *auditor) finish(report *Report) {
	n := a.newer
	if n == nil {
		return
	}
	if n.from != nil {
		at := n.from.At.UTC()
		report.Since, report.FullAt = &at, n.from.FullAt.UTC()
	}
	for i := range n.next.Topics {
		end := &n.next.Topics[i]
		if offset, waits := n.keep[place{end.Topic, end.Partition}]; waits {
			end.Keep = min(end.Keep, offset)
		}
	}
	if report.Breaches() > 0 || len(n.next.Rows) > maxOpenRows || len(n.next.Orders) > maxOpenOrders {
		n.next = nil
	}
}

// cannotJudge makes a full audit necessary.
func (a *auditor) cannotJudge(format string, args ...any) {
	if a.newer.unclear == "" {
		a.newer.unclear = fmt.Sprintf(format, args...)
	}
}

// defaultMargin is longer than a transaction of a function takes, or a relay from the record of an event to the mark on its row,
// and than the clocks of processes differ.
const defaultMargin = 2 * time.Minute
