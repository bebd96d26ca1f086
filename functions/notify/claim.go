package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/transaction"
)

// errBusy makes the event be retried: another delivery is notifying the customer about this order.
var errBusy = errors.New("another delivery is notifying the customer about this order")

// claim claims news under the locks of their orders' rows and returns them. All other news get their outcomes: sent before,
// overtaken by newer ones, or claimed by another delivery.
func (f *Function) claim(ctx context.Context, all []*news, claim string, alone bool) (claimed []*news, err error) {
	transact := f.TransactShared
	if alone {
		transact = f.Transact
	}
	err = transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		orderIDs := ordersOf(all)
		if err := notifications.New(tx.Deferred()).OpenConversations(ctx, orderIDs); err != nil {
			return nil, fmt.Errorf("open the conversations about %d orders: %w", len(orderIDs), err)
		}
		locked, known, err := notifications.New(tx).LockConversationsAndListNotifications(ctx, orderIDs)
		if err != nil {
			return nil, fmt.Errorf("lock the conversations about %d orders: %w", len(orderIDs), err)
		}
		var decided []notifications.UpsertNotificationParams
		claimed, decided = f.decide(all, conversationsOf(locked, known, claim))
		if claimed, err = f.limitMails(ctx, tx, claimed, decided); err != nil {
			return nil, err
		}
		return nil, f.write(ctx, tx, claimed, decided, claim)
	})
	if err == nil {
		f.reportLimited(ctx, all)
	}
	return claimed, err
}

// conversation is the state of the notifications about one order.
type conversation struct {
	notified int  // the newest version that the customer knows
	begun    int  // the newest version that was claimed, perhaps by a process that died after the mail, or not sent by the limit
	busy     bool // another delivery holds the claim
	own      bool // this delivery holds the claim already: its commit was thought to be lost
	known    map[identity]notifications.NotificationsStatus
}

// identity identifies an event.
type identity struct{ source, id string }

func conversationsOf(locked []notifications.LockConversationsRow, known []notifications.ListNotificationsRow, claim string) map[string]*conversation {
	all := make(map[string]*conversation, len(locked))
	for _, row := range locked {
		own := row.Claim != nil && *row.Claim == claim
		all[row.OrderID] = &conversation{
			notified: row.Version, own: own, busy: row.Busy == 1 && !own, known: map[identity]notifications.NotificationsStatus{},
		}
	}
	for _, row := range known {
		c := all[row.OrderID]
		c.known[identity{row.Source, row.EventID}] = row.Status
		// One that was not sent because of the limit ends older news, too: they would tell the customer what is no longer so.
		if row.Status == notifications.NotificationsStatusCLAIMED || row.Status == notifications.NotificationsStatusLIMITED {
			c.begun = max(c.begun, row.OrderVersion)
		}
	}
	return all
}

// decide returns the news to claim, and the rows of the claimed and of the suppressed ones. The newest version of an order
// suppresses the others.
func (f *Function) decide(all []*news, conversations map[string]*conversation) (claimed []*news, decided []notifications.UpsertNotificationParams) {
	newest := slices.Clone(all)
	slices.SortStableFunc(newest, func(a, b *news) int { return cmp.Compare(b.version, a.version) })
	for _, n := range newest {
		c := conversations[n.orderID]
		status := c.known[identity{n.event.Source(), n.event.ID()}]
		*n.outcome = base.Outcome{}
		n.counted, n.limited = status == notifications.NotificationsStatusCLAIMED, false
		switch {
		case status == notifications.NotificationsStatusSENT:
			n.outcome.Text = "duplicate"
			continue
		case status == notifications.NotificationsStatusSUPPRESSED:
			n.outcome.Text = "suppressed"
			continue
		case status == notifications.NotificationsStatusLIMITED:
			n.outcome.Text = limited
			continue
		case c.busy:
			n.outcome.Err = errBusy
			continue
		case c.own && status == notifications.NotificationsStatusCLAIMED:
			n.outcome.Text = "sent"
			claimed = append(claimed, n)
			continue
		case c.notified >= n.version || c.begun > n.version:
			status, n.outcome.Text = notifications.NotificationsStatusSUPPRESSED, "suppressed"
		default:
			status, n.outcome.Text = notifications.NotificationsStatusCLAIMED, "sent"
			claimed = append(claimed, n)
			c.begun = n.version
		}
		decided = append(decided, notifications.UpsertNotificationParams{
			Source: n.event.Source(), EventID: n.event.ID(), OrderID: n.orderID, OrderVersion: n.version, Type: n.event.Type(),
			CustomerEmail: n.email, Status: status, CreatedAt: f.Now(),
		})
	}
	return claimed, decided
}

// write stores the decisions, at the latest with the commit.
func (f *Function) write(ctx context.Context, tx *transaction.Tx, claimed []*news, decided []notifications.UpsertNotificationParams, claim string) error {
	q := notifications.New(tx.Deferred())
	slices.SortFunc(decided, func(a, b notifications.UpsertNotificationParams) int {
		return cmp.Or(cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.Source, b.Source))
	})
	if err := q.UpsertNotifications(ctx, decided); err != nil {
		return fmt.Errorf("store %d notifications: %w", len(decided), err)
	}
	if len(claimed) == 0 {
		return nil
	}
	if err := q.ClaimConversations(ctx, notifications.ClaimConversationsParams{
		Claim: &claim, LeaseMicros: int(lease.Microseconds()), OrderIds: ordersOf(claimed),
	}); err != nil {
		return fmt.Errorf("claim the conversations about %d orders: %w", len(claimed), err)
	}
	return nil
}

// settle marks the news that were sent, even after the batch's deadline. It releases the claims of failed sends, so that
// their next delivery need not wait until the lease ends.
func (f *Function) settle(ctx context.Context, claimed []*news, claim string) error {
	if len(claimed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	var failed []*news
	notified := map[version][]*news{}
	for _, n := range claimed {
		if n.outcome.Err != nil {
			failed = append(failed, n)
			continue
		}
		v := version{n.version, n.event.Source()}
		notified[v] = append(notified[v], n)
	}
	return f.Transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		q, now := notifications.New(tx.Deferred()), f.Now()
		for v, of := range notified {
			if err := q.EndConversations(ctx, notifications.EndConversationsParams{Version: v.number, OrderIds: ordersOf(of), Claim: &claim}); err != nil {
				return nil, fmt.Errorf("end the conversations about %d orders: %w", len(of), err)
			}
			ids := make([]string, len(of))
			for i, n := range of {
				ids[i] = n.event.ID()
			}
			slices.Sort(ids)
			if err := q.MarkNotificationsSent(ctx, notifications.MarkNotificationsSentParams{SentAt: &now, EventIds: ids, Source: v.source}); err != nil {
				return nil, fmt.Errorf("mark the notifications of %d events: %w", len(of), err)
			}
		}
		if len(failed) == 0 {
			return nil, nil
		}
		return nil, q.ReleaseConversations(ctx, notifications.ReleaseConversationsParams{OrderIds: ordersOf(failed), Claim: &claim})
	})
}

// version groups the news that one statement of settle marks.
type version struct {
	number int
	source string
}

// ordersOf returns the order ids of the news, sorted, without duplicates.
func ordersOf(all []*news) []string {
	ids := make([]string, len(all))
	for i, n := range all {
		ids[i] = n.orderID
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
