package notifications

import (
	"context"

	"example.com/orders/sql/bulk"
)

// OpenConversations makes sure by one statement that several orders have their rows.
func (q *Queries) OpenConversations(ctx context.Context, orderIDs []string) error {
	return bulk.Insert(ctx, q.db, openConversation, orderIDs, func(id string) []any { return []any{id} })
}

// InsertNotifications claims the notifications of several events that have none by one statement.
func (q *Queries) InsertNotifications(ctx context.Context, rows []InsertNotificationParams) error {
	return bulk.Insert(ctx, q.db, insertNotification, rows, func(n InsertNotificationParams) []any {
		return []any{n.Source, n.EventID, n.OrderID, n.OrderVersion, n.Type, n.CustomerEmail, n.CreatedAt}
	})
}
