package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/instance"
	"example.com/orders/sql/notifications"
)

// HandleBatch is Handle for several events of one type. Without a mailer it claims all that is plain news in one
// transaction and marks it in another; mails are sent one by one, since each takes its own time.
func (f *Function) HandleBatch(ctx context.Context, es []event.Event) []error {
	if f.Mailer != nil || len(es) == 1 || f.Started() != nil {
		return instance.Each(ctx, es, f.Handle)
	}
	begin := time.Now()
	answers := make([]error, len(es))
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
	claim := f.NewID()
	if err := f.claimAll(ctx, group, claim); err != nil {
		for i, n := range group {
			answers[places[i]] = f.Handle(ctx, n.event)
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
	ids, eventIDs := make([]string, len(group)), make([]string, len(group))
	versions := make(map[string]int, len(group))
	rows := make([]notifications.InsertNotificationParams, len(group))
	for i, n := range group {
		ids[i], eventIDs[i], versions[n.orderID] = n.orderID, n.event.ID(), n.version
		rows[i] = notifications.InsertNotificationParams{
			Source: n.event.Source(), EventID: n.event.ID(), OrderID: n.orderID, OrderVersion: n.version, Type: n.event.Type(),
			CustomerEmail: n.email, CreatedAt: f.Now(),
		}
	}
	if len(versions) < len(ids) {
		return errNotPlain // two events about one order
	}
	slices.Sort(ids)
	return f.transact(ctx, func(ctx context.Context, q *notifications.Queries) error {
		if err := q.OpenConversations(ctx, ids); err != nil {
			return fmt.Errorf("open the conversations about %d orders: %w", len(ids), err)
		}
		conversations, err := q.LockConversations(ctx, ids)
		if err != nil {
			return fmt.Errorf("lock the conversations about %d orders: %w", len(ids), err)
		}
		for _, c := range conversations {
			if c.Busy == 1 || c.Version >= versions[c.OrderID] {
				return errNotPlain
			}
		}
		known, err := q.CountNotifications(ctx, notifications.CountNotificationsParams{EventIds: eventIDs, Source: events.OrdersSource})
		if err != nil {
			return fmt.Errorf("look for earlier notifications: %w", err)
		}
		if known > 0 {
			return errNotPlain
		}
		if err := q.InsertNotifications(ctx, rows); err != nil {
			return fmt.Errorf("store %d notifications: %w", len(rows), err)
		}
		if err := q.ClaimConversations(ctx, notifications.ClaimConversationsParams{
			Claim: &claim, LeaseMicros: int(lease.Microseconds()), OrderIds: ids,
		}); err != nil {
			return fmt.Errorf("claim the conversations about %d orders: %w", len(ids), err)
		}
		return nil
	})
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
			if _, err := q.EndConversations(ctx, notifications.EndConversationsParams{Version: version, OrderIds: ids, Claim: &claim}); err != nil {
				return fmt.Errorf("end the conversations about %d orders: %w", len(ids), err)
			}
		}
		now := f.Now()
		if err := q.MarkNotificationsSent(ctx, notifications.MarkNotificationsSentParams{SentAt: &now, EventIds: eventIDs, Source: events.OrdersSource}); err != nil {
			return fmt.Errorf("mark %d notifications: %w", len(eventIDs), err)
		}
		return nil
	})
}
