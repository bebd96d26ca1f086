package notify

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/sql/notifications"
)

// purgeStep bounds the rows of one statement, purgeSteps the statements of one tick.
const (
	purgeStep  = 500
	purgeSteps = 20
)

// tick deletes the notifications that are older than the retention. What an order's customer knows stays in conversations,
// without an address.
func (f *Function) tick(ctx context.Context, _ event.Event) (string, error) {
	cutoff, count := f.Now().Add(-f.Retention), int64(0)
	for range purgeSteps {
		deleted, err := notifications.New(f.DB).DeleteNotificationsBefore(ctx, notifications.DeleteNotificationsBeforeParams{
			BeforeID: events.FirstOrderID(cutoff), CreatedBefore: cutoff, Limit: purgeStep,
		})
		if err != nil {
			return "", fmt.Errorf("purge the notifications from before %s: %w", cutoff.Format("2006-01-02"), err)
		}
		if count += deleted; deleted < purgeStep {
			break
		}
	}
	return fmt.Sprintf("purged %d notifications", count), nil
}
