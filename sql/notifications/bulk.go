package notifications

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"strings"

	"example.com/orders/sql/bulk"
	"example.com/orders/sql/transaction"
)

// OpenConversations ensures with one statement that several orders have their rows.
func (q *Queries) OpenConversations(ctx context.Context, orderIDs []string) error {
	return bulk.Insert(ctx, q.db, openConversation, orderIDs, func(id string) []any { return []any{id} })
}

// UpsertNotifications claims or suppresses the notifications of several events with one statement.
func (q *Queries) UpsertNotifications(ctx context.Context, rows []UpsertNotificationParams) error {
	return bulk.Insert(ctx, q.db, upsertNotification, rows, func(n UpsertNotificationParams) []any {
		return []any{n.Source, n.EventID, n.OrderID, n.OrderVersion, n.Type, n.CustomerEmail, n.Status, n.CreatedAt}
	})
}

// LockConversationsAndListNotifications is LockConversations followed by ListNotifications, in one round trip.
func (q *Queries) LockConversationsAndListNotifications(ctx context.Context, orderIDs []string) (locked []LockConversationsRow, known []ListNotificationsRow, err error) {
	both := []transaction.Query{
		transaction.QueryIn(lockConversations, "order_ids", orderIDs), transaction.QueryIn(listNotifications, "order_ids", orderIDs),
	}
	err = transaction.QueryTogether(ctx, q.db, both, func(n int, rows *sql.Rows) error {
		for rows.Next() {
			if n == 0 {
				var c LockConversationsRow
				if err := rows.Scan(&c.OrderID, &c.Version, &c.Claim, &c.Busy); err != nil {
					return err
				}
				locked = append(locked, c)
				continue
			}
			var k ListNotificationsRow
			if err := rows.Scan(&k.OrderID, &k.Source, &k.EventID, &k.OrderVersion, &k.Status); err != nil {
				return err
			}
			known = append(known, k)
		}
		return nil
	})
	return locked, known, err
}

// OpenMailCounts ensures with one statement that several addresses have their rows. To avoid deadlocks the caller sorts them.
func (q *Queries) OpenMailCounts(ctx context.Context, rows []OpenMailCountParams) error {
	return bulk.Insert(ctx, q.db, openMailCount, rows, func(r OpenMailCountParams) []any { return []any{r.Address, r.BegunAt} })
}

// SetMailCounts changes the rows of several addresses with one statement.
func (q *Queries) SetMailCounts(ctx context.Context, rows []SetMailCountParams) error {
	return bulk.Insert(ctx, q.db, setMailCount, rows, func(r SetMailCountParams) []any { return []any{r.Address, r.BegunAt, r.Mails} })
}

// AddressHash returns the hash under which the mails to an address are counted.
func AddressHash(email string) []byte {
	hash := sha256.Sum256([]byte(strings.ToLower(email)))
	return hash[:]
}
