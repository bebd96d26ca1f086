package notify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/tracing"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/schema"
)

// OneByOne tells that mails are sent. Each takes its own time, and would have to wait for those before it in a group.
func (f *Function) OneByOne() bool { return f.Mailer != nil }

// HandleBatch is Handle for several events of one type. When all of them are plain news it claims them in one
// transaction and marks them in another; else, and for mails, delivery.ErrAlone answers.
func (f *Function) HandleBatch(ctx context.Context, es []event.Event) []error {
	begin := time.Now()
	answers := make([]error, len(es))
	if f.OneByOne() || f.Started() != nil {
		for i := range answers {
			answers[i] = delivery.ErrAlone
		}
		return answers
	}
	var group []news
	var places []int
	for i, e := range es {
		n, err := read(e)
		if err != nil {
			answers[i] = f.Report(ctx, e, begin, "", delivery.Poison(err))
			continue
		}
		group, places = append(group, n), append(places, i)
	}
	if len(group) == 0 {
		return answers
	}
	told := make([]event.Event, len(group))
	for i, n := range group {
		told[i] = n.event
	}
	ctx = tracing.Lead(ctx, told)
	claim := f.NewID()
	if err := f.claimAll(ctx, group, claim); err != nil {
		f.Log.DebugContext(ctx, "events not handled together, one by one now", "function", f.Name, "count", len(group), "error", err)
		for _, place := range places {
			answers[place] = delivery.ErrAlone
		}
		return answers
	}
	for _, n := range group {
		_ = f.send(ctx, n) // without a mailer it writes the log only
	}
	err := f.markAll(ctx, group, claim)
	for i, n := range group {
		answers[places[i]] = f.Report(ctx, n.event, begin, "sent", err)
	}
	return answers
}

// errNotPlain means that one of the events is not news to its customer, or that the customer is being told by another
// delivery: they are handled one by one.
var errNotPlain = errors.New("not all of these are plain news")

// claimAll does what claim does, for several orders, when all of them are plain news.
func (f *Function) claimAll(ctx context.Context, group []news, claim string) error {
	ids := make([]string, len(group))
	versions := make(map[string]int, len(group))
	rows := make([]notifications.InsertNotificationParams, len(group))
	for i, n := range group {
		ids[i], versions[n.orderID] = n.orderID, n.version
		rows[i] = notifications.InsertNotificationParams{
			Source: n.event.Source(), EventID: n.event.ID(), OrderID: n.orderID, OrderVersion: n.version, Type: n.event.Type(),
			CustomerEmail: n.email, CreatedAt: f.Now(),
		}
	}
	if len(versions) < len(ids) {
		return errNotPlain // two events about one order
	}
	slices.Sort(ids)
	return f.TransactGroup(ctx, func(ctx context.Context, tx *sql.Tx) ([]event.Event, error) {
		q := notifications.New(tx)
		claimed, err := free(ctx, q, ids, versions, claim)
		if err != nil || claimed {
			return nil, err
		}
		return nil, claimRows(ctx, q, ids, rows, claim)
	})
}

// free locks the conversations about orders, and fails when one of them is not free for news of that version. When all
// are claimed by claim the commit that did so was thought to be lost.
func free(ctx context.Context, q *notifications.Queries, ids []string, versions map[string]int, claim string) (claimed bool, err error) {
	if err := q.OpenConversations(schema.Later(ctx), ids); err != nil {
		return false, fmt.Errorf("open the conversations about %d orders: %w", len(ids), err)
	}
	conversations, err := q.LockConversations(ctx, ids)
	if err != nil {
		return false, fmt.Errorf("lock the conversations about %d orders: %w", len(ids), err)
	}
	own := 0
	for _, c := range conversations {
		switch {
		case c.Claim != nil && *c.Claim == claim:
			own++
		case c.Busy == 1 || c.Version >= versions[c.OrderID]:
			return false, errNotPlain
		}
	}
	return own == len(ids), nil
}

// claimRows stores the notifications of events that have none, and claims the conversations about their orders.
func claimRows(ctx context.Context, q *notifications.Queries, ids []string, rows []notifications.InsertNotificationParams, claim string) error {
	eventIDs := make([]string, len(rows))
	for i, row := range rows {
		eventIDs[i] = row.EventID
	}
	known, err := q.CountNotifications(ctx, notifications.CountNotificationsParams{OrderIds: ids, EventIds: eventIDs, Source: events.OrdersSource})
	if err != nil {
		return fmt.Errorf("look for earlier notifications: %w", err)
	}
	if known > 0 {
		return errNotPlain
	}
	if err := q.InsertNotifications(schema.Later(ctx), rows); err != nil {
		return fmt.Errorf("store %d notifications: %w", len(rows), err)
	}
	if err := q.ClaimConversations(schema.Later(ctx), notifications.ClaimConversationsParams{
		Claim: &claim, LeaseMicros: int(lease.Microseconds()), OrderIds: ids,
	}); err != nil {
		return fmt.Errorf("claim the conversations about %d orders: %w", len(ids), err)
	}
	return nil
}

// markAll does what mark does, for several orders.
func (f *Function) markAll(ctx context.Context, group []news, claim string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	told := map[int][]string{} // version -> orders
	eventIDs := make([]string, len(group))
	for i, n := range group {
		told[n.version] = append(told[n.version], n.orderID)
		eventIDs[i] = n.event.ID()
	}
	return f.transact(ctx, func(ctx context.Context, q *notifications.Queries) error {
		for version, ids := range told {
			if err := q.EndConversations(schema.Later(ctx), notifications.EndConversationsParams{Version: version, OrderIds: ids, Claim: &claim}); err != nil {
				return fmt.Errorf("end the conversations about %d orders: %w", len(ids), err)
			}
		}
		now := f.Now()
		if err := q.MarkNotificationsSent(schema.Later(ctx), notifications.MarkNotificationsSentParams{SentAt: &now, EventIds: eventIDs, Source: events.OrdersSource}); err != nil {
			return fmt.Errorf("mark %d notifications: %w", len(eventIDs), err)
		}
		return nil
	})
}
