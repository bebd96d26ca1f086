package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

func TestRelayCountsItsBatches(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	names := sameShard(3)
	sent, refused, unknown := fact(names[0], 1), fact(names[1], 1), fact(names[2], 1)
	store(t, db, sent, refused, unknown)
	r := relay(db, &broker{t: t, answer: func(_ context.Context, e event.Event) (o outbox.Outcome) {
		switch e.ID() {
		case refused.ID():
			o.Err = fmt.Errorf("%w: 2 MB", outbox.ErrTooLarge)
		case unknown.ID():
			o.Err = errors.New("no answer")
		}
		return o
	}})
	counted := exposition.New()
	r.Metrics, r.Schema = counted.Metrics, schema.Orders

	_, err := r.Sweep(t.Context())

	require.ErrorContains(t, err, "no answer")
	require.NoError(t, testutil.GatherAndCompare(counted, strings.NewReader(`
# HELP orders_relay_batches_total Batches of stored events that a relay has given to the broker.
# TYPE orders_relay_batches_total counter
orders_relay_batches_total{schema="orders"} 1
# HELP orders_relay_events_total Stored events given to the broker: sent, refused (counted against the event), unknown (to be sent again).
# TYPE orders_relay_events_total counter
orders_relay_events_total{outcome="refused",schema="orders"} 1
orders_relay_events_total{outcome="sent",schema="orders"} 1
orders_relay_events_total{outcome="unknown",schema="orders"} 1
`), "orders_relay_batches_total", "orders_relay_events_total"))
}
