package console

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/orders"
)

// orderPage is everything about an order.
type orderPage struct {
	orderLine
	CorrelationID string         `json:"correlationId"`
	Items         []events.Item  `json:"items"`
	Reservation   *reservation   `json:"reservation,omitempty"`
	Payment       *orderPayment  `json:"payment,omitempty"`
	Steps         []step         `json:"steps"`
	Mails         []notification `json:"mails"`
	// LettersUnknown is whether the dead letters could not be read: an event that was not handled may be one.
	LettersUnknown bool `json:"lettersUnknown,omitempty"`
}

type reservation struct {
	Status    string `json:"status"`
	UpdatedAt string `json:"updatedAt"`
	Held      []held `json:"held"`

	updated time.Time
}

type held struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// step is an event of the order: its producer, when it was stored and sent, and its consumers.
type step struct {
	Function      string      `json:"function"`
	Type          string      `json:"type"`
	ID            string      `json:"id"`
	CorrelationID string      `json:"correlationId,omitempty"`
	CausationID   string      `json:"causationId,omitempty"`
	Traceparent   string      `json:"traceparent,omitempty"`
	StoredAt      string      `json:"storedAt"`
	SentAt        string      `json:"sentAt,omitempty"`
	Status        string      `json:"status"`
	Attempts      int         `json:"attempts"`
	LastError     string      `json:"lastError,omitempty"`
	Partition     *int        `json:"partition,omitempty"`
	Offset        *int64      `json:"offset,omitempty"`
	Deliveries    []delivered `json:"deliveries"`
	Event         event.Event `json:"event"`

	stored time.Time
}

// delivered is the handling of an event by a consumer.
type delivered struct {
	Function string `json:"function"`
	// At is when it handled the event; empty if it has not yet.
	At string `json:"at,omitempty"`
	// SetAside is its dead letter, if it became one.
	SetAside *setAside `json:"setAside,omitempty"`
}

type notification struct {
	EventID   string `json:"eventId"`
	Type      string `json:"type"`
	Status    string `json:"status"`
	Attempts  int    `json:"attempts"`
	ClaimedAt string `json:"claimedAt"`
	SentAt    string `json:"sentAt,omitempty"`

	source string
}

// maxSteps bounds the events of an order. A whole saga has fewer than ten.
const maxSteps = 200

// skew is how much the clocks of the services that store an order's events may be behind the one that accepted it.
const skew = time.Minute

// readOrder reads the page of an order; nil if the order does not exist.
func (c *Console) readOrder(ctx context.Context, id string) (any, error) {
	q := orders.New(c.orders)
	row, err := q.GetOrder(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // the page says so
	}
	if err != nil {
		return nil, fmt.Errorf("read order %s: %w", id, err)
	}
	page := orderPage{orderLine: newOrderLine(row), Items: []events.Item{}, Steps: []step{}, Mails: []notification{}}
	if page.CorrelationID, err = q.GetFlow(ctx, id); err != nil {
		return nil, fmt.Errorf("read the flow of order %s: %w", id, err)
	}
	items, err := q.ListItems(ctx, []string{id})
	if err != nil {
		return nil, fmt.Errorf("read the lines of order %s: %w", id, err)
	}
	for _, item := range items {
		page.Items = append(page.Items, events.Item{SKU: item.Sku, Quantity: item.Quantity, UnitPrice: item.UnitPrice})
	}
	if page.Reservation, err = c.readReservation(ctx, id); err != nil {
		return nil, err
	}
	if page.Payment, err = c.readPayment(ctx, id); err != nil {
		return nil, err
	}
	if page.Mails, err = c.readMails(ctx, id); err != nil {
		return nil, err
	}
	page.LettersUnknown = !c.freshLetters(ctx)
	letters, err := c.lettersOf(ctx, id)
	if err != nil {
		return nil, err
	}
	changed := row.UpdatedAt
	if row.Status == orders.OrdersStatusPENDING {
		changed = time.Now()
	}
	if page.Reservation != nil {
		changed = later(changed, page.Reservation.updated)
	}
	if page.Payment != nil {
		changed = later(changed, page.Payment.updated)
	}
	page.Steps, err = c.readSteps(ctx, id, row.CreatedAt, changed, page.Mails, letters)
	return page, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (c *Console) readReservation(ctx context.Context, id string) (*reservation, error) {
	q := inventory.New(c.inventory)
	row, err := q.GetReservation(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // the stock has no reservation yet
	}
	if err != nil {
		return nil, fmt.Errorf("read the reservation of order %s: %w", id, err)
	}
	found := &reservation{Status: string(row.Status), UpdatedAt: moment(row.UpdatedAt), Held: []held{}, updated: row.UpdatedAt}
	rows, err := q.ListHeld(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the stock that order %s holds: %w", id, err)
	}
	for _, row := range rows {
		found.Held = append(found.Held, held{row.Sku, row.Quantity})
	}
	return found, nil
}

func (c *Console) readMails(ctx context.Context, id string) ([]notification, error) {
	rows, err := notifications.New(c.notifications).ListNotificationsOf(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the notifications of order %s: %w", id, err)
	}
	mails := []notification{}
	for _, row := range rows {
		mails = append(mails, notification{
			EventID: row.EventID, Type: row.Type, Status: string(row.Status), Attempts: row.Attempts,
			ClaimedAt: moment(row.CreatedAt), SentAt: momentOf(row.SentAt), source: row.Source,
		})
	}
	return mails, nil
}

// consumed is the unit that a consumer handles once.
type consumed struct{ consumer, source, id string }

// readSteps reads the events of an order from the outboxes, and their consumers from the inboxes. An event is stored with the
// change that it tells of, or by a consumer with the row of its inbox: so all of them are from since until the order's last
// change, or the last time that a consumer handled one of them.
func (c *Console) readSteps(ctx context.Context, id string, since, changed time.Time, mails []notification, letters map[consumed]setAside) ([]step, error) {
	handled := map[consumed]string{}
	for _, mail := range mails {
		at := mail.SentAt
		if status := notifications.NotificationsStatus(mail.Status); at == "" &&
			(status == notifications.NotificationsStatusSUPPRESSED || status == notifications.NotificationsStatusLIMITED) {
			at = mail.ClaimedAt
		}
		handled[consumed{"notify", mail.source, mail.EventID}] = at
	}
	steps := []step{}
	for _, name := range c.o.Wiring.Outboxes() {
		q, until := messaging.New(c.outboxPools[name]), changed
		// '#' separates an order's id from the number of the fact, and '$' is the next character.
		rows, err := q.ListHandledBetween(ctx, messaging.ListHandledBetweenParams{FromID: id + "#", ToID: id + "$", Limit: maxSteps})
		if err != nil {
			return nil, fmt.Errorf("look up order %s in the inbox of %s: %w", id, name, err)
		}
		for _, row := range rows {
			handled[consumed{row.Consumer, row.Source, row.EventID}] = moment(row.ProcessedAt)
			until = later(until, row.ProcessedAt)
		}
		from, err := firstSince(ctx, q, since.Add(-skew))
		if err != nil {
			return nil, fmt.Errorf("look up order %s in the outbox of %s: %w", id, name, err)
		}
		to := int64(math.MaxInt64)
		if until = until.Add(skew); until.Before(time.Now()) {
			if to, err = firstSince(ctx, q, until); err != nil {
				return nil, fmt.Errorf("look up order %s in the outbox of %s: %w", id, name, err)
			}
		}
		stored, err := q.ListEventsOf(ctx, messaging.ListEventsOfParams{
			Shard: outbox.Shard(id), FromID: from, ToID: to, AggregateID: id, Limit: maxSteps,
		})
		if err != nil {
			return nil, fmt.Errorf("read the events of order %s in %s: %w", id, name, err)
		}
		for _, row := range stored {
			s, err := newStep(row)
			if err != nil {
				return nil, err
			}
			steps = append(steps, s)
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Or(a.stored.Compare(b.stored), cmp.Compare(a.ID, b.ID)) })
	c.connect(steps, handled, letters)
	return steps, nil
}

func newStep(row messaging.ListEventsOfRow) (step, error) {
	e, err := outbox.Decode(row.Type, row.Payload, row.Headers)
	if err != nil {
		return step{}, err
	}
	cause := func(name string) string {
		text, _ := e.Extensions()[name].(string)
		return text
	}
	s := step{
		Type: row.Type, ID: e.ID(), CorrelationID: cause("correlationid"), CausationID: cause("causationid"),
		Traceparent: cause("traceparent"), StoredAt: moment(row.CreatedAt), SentAt: momentOf(row.SentAt),
		Status: string(row.Status), Attempts: row.Attempts, Partition: row.KafkaPartition, Offset: row.KafkaOffset,
		Deliveries: []delivered{}, Event: e, stored: row.CreatedAt,
	}
	if row.LastError != nil {
		s.LastError = *row.LastError
	}
	return s, nil
}

// connect finds the producer and the consumers of each event.
func (c *Console) connect(steps []step, handled map[consumed]string, letters map[consumed]setAside) {
	for i := range steps {
		s := &steps[i]
		causeType := ""
		for _, cause := range steps {
			// Facts of two services may have the same number: the cause is the one whose consumer emitted this event.
			if cause.ID == s.CausationID && c.topology.leads(cause.Type, s.Type) {
				causeType = cause.Type
			}
		}
		s.Function = c.topology.producer(s.Type, causeType)
		for _, h := range c.topology.Handles {
			if h.Topic == s.Type {
				about := consumed{h.Function, s.Event.Source(), s.ID}
				d := delivered{Function: h.Function, At: handled[about]}
				if letter, ok := letters[about]; ok {
					d.SetAside = &letter
				}
				s.Deliveries = append(s.Deliveries, d)
			}
		}
	}
}

// leads returns whether a function that consumes one type emits another.
func (t topology) leads(from, to string) bool {
	return slices.ContainsFunc(t.Handles, func(h handling) bool {
		return h.Topic == from && slices.Contains(t.Emits, emission{h.Function, to})
	})
}

// firstSince finds the first event of an outbox stored at a time or later, by binary search over the primary key: ids and
// times ascend together, except for concurrent transactions.
func firstSince(ctx context.Context, q *messaging.Queries, since time.Time) (int64, error) {
	last, err := q.LastEvent(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	low, high := int64(0), last
	for low < high {
		middle := low + (high-low)/2
		row, err := q.FirstEventFrom(ctx, middle)
		if errors.Is(err, sql.ErrNoRows) {
			return low, nil // deleted meanwhile
		}
		if err != nil {
			return 0, err
		}
		if row.CreatedAt.Before(since) {
			low = row.ID + 1
		} else {
			high = middle
		}
	}
	return low, nil
}
