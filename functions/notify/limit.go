package notify

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/transaction"
)

// window is the time in which an address gets at most maxMails mails. It begins with the first of them.
const window = time.Hour

// limited is the outcome of news that were not sent because their address had got too many mails.
const limited = "limited"

// maxMails reads MAX_MAILS, 0 without a limit.
func maxMails(config map[string]string) (int, error) {
	return base.Limit(config, "MAX_MAILS", "how many mails an address may get within an hour", 1_000_000)
}

// limitMails returns those of the claimed news that may be sent. For the others it changes the decision to LIMITED. A mail
// counts once, however often its send is tried. The rows of the addresses stay locked until the commit, so that transactions
// at the same time count each other's mails.
func (f *Function) limitMails(ctx context.Context, tx *transaction.Tx, claimed []*news, decided []notifications.UpsertNotificationParams) ([]*news, error) {
	now, counts := f.Now(), map[string]*notifications.MailCount{}
	var rows []notifications.OpenMailCountParams
	for _, n := range claimed {
		address := notifications.AddressHash(n.email)
		if f.maxMails > 0 && !n.counted && counts[string(address)] == nil {
			counts[string(address)] = &notifications.MailCount{Address: address, BegunAt: now}
			rows = append(rows, notifications.OpenMailCountParams{Address: address, BegunAt: now})
		}
	}
	if len(rows) == 0 {
		return claimed, nil
	}
	slices.SortFunc(rows, func(a, b notifications.OpenMailCountParams) int { return bytes.Compare(a.Address, b.Address) })
	addresses := make([][]byte, len(rows))
	for i, row := range rows {
		addresses[i] = row.Address
	}
	later := notifications.New(tx.Deferred())
	if err := later.OpenMailCounts(ctx, rows); err != nil {
		return nil, fmt.Errorf("lock the counts of %d addresses: %w", len(rows), err)
	}
	known, err := notifications.New(tx).ListMailCounts(ctx, addresses)
	if err != nil {
		return nil, fmt.Errorf("read the counts of %d addresses: %w", len(rows), err)
	}
	for _, row := range known {
		if now.Sub(row.BegunAt) < window {
			*counts[string(row.Address)] = row
		}
	}
	sent := slices.DeleteFunc(slices.Clone(claimed), func(n *news) bool {
		if n.counted {
			return false
		}
		if count := counts[string(notifications.AddressHash(n.email))]; count.Mails < f.maxMails {
			count.Mails++
			return false
		}
		n.limited, n.outcome.Text = true, limited
		i := slices.IndexFunc(decided, func(d notifications.UpsertNotificationParams) bool {
			return d.EventID == n.event.ID() && d.Source == n.event.Source()
		})
		decided[i].Status = notifications.NotificationsStatusLIMITED
		return true
	})
	changed := make([]notifications.SetMailCountParams, len(addresses))
	for i, address := range addresses {
		changed[i] = notifications.SetMailCountParams(*counts[string(address)])
	}
	if err := later.SetMailCounts(ctx, changed); err != nil {
		return nil, fmt.Errorf("count the mails to %d addresses: %w", len(changed), err)
	}
	return sent, nil
}

// reportLimited logs and counts the news that the limit has stopped.
func (f *Function) reportLimited(ctx context.Context, all []*news) {
	for _, n := range all {
		if n.limited {
			f.Metrics.CountLimited(metrics.LimitedMails)
			f.Log.WarnContext(ctx, "mail not sent: its address got as many as it may", "function", f.Name, "order_id", n.orderID,
				"event_id", n.event.ID(), "most", f.maxMails, "within", window)
		}
	}
}
