package notify

import (
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

func tick() event.Event {
	e := event.New()
	e.SetType(base.TickType)
	e.SetSource("/apis/v1/namespaces/orders/pingsources/notify-purge")
	e.SetID(uuid.NewString())
	return e
}

func TestTicksPurgeOldNotifications(t *testing.T) {
	f := New()
	f.Mailer = &mailbox{}
	now := time.Now()
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, map[string]string{"RETAIN_NOTIFICATIONS": "1h"})
	old, young := functiontest.OrderID(), events.FirstOrderID(now.Add(30*time.Minute))
	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, confirmed(old), 2)))
	now = now.Add(time.Hour)
	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, confirmed(young), 2)))
	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, canceled(old), 3)), "news of an old order")
	count := func(order string) int {
		return mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM notifications WHERE order_id = ?", order)
	}

	require.NoError(t, f.Handle(t.Context(), tick()))
	assert.Equal(t, []int{2, 1}, []int{count(old), count(young)}, "an hour is not over yet")

	now = now.Add(time.Minute)
	require.NoError(t, f.Handle(t.Context(), tick()))
	assert.Equal(t, []int{1, 1}, []int{count(old), count(young)}, "the news are younger than their order")

	now = now.Add(2 * time.Hour)
	require.NoError(t, f.Handle(t.Context(), tick()))
	assert.Zero(t, count(old)+count(young))
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM conversations"), "a late event still finds what the customer knows")
}

func TestNotifyReadsItsRetention(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	assert.Equal(t, 40*24*time.Hour, f.Retention)
	for name, text := range map[string]string{"a word": "long", "no unit": "40", "none": "0s", "negative": "-1h"} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, New().Start(t.Context(), map[string]string{"RETAIN_NOTIFICATIONS": text}), "RETAIN_NOTIFICATIONS")
		})
	}
}
