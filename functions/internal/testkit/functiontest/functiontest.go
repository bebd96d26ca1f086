// Package functiontest starts functions as a host does, each on its own schema, and creates events for them.
package functiontest

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/privilege"
)

// Function is a function that Start can start.
type Function interface {
	Start(ctx context.Context, config map[string]string) error
	Stop(ctx context.Context) error
	Shared() *base.Base
}

// Start starts f with config, on a new migrated schema unless it has a pool already, and stops it when the test ends. In the
// database the function is its own user: see mysqltest.AsUser.
func Start[F Function](t testing.TB, f F, config map[string]string) F {
	t.Helper()
	if base := f.Shared(); base.DB == nil {
		base.DB = mysqltest.Open(t, base.Schema)
	}
	if user := userOf(f, config); user != "" {
		mysqltest.AsUser(t, f.Shared().DB, user)
	}
	require.NoError(t, f.Start(t.Context(), config))
	t.Cleanup(func() { assert.NoError(t, f.Stop(context.Background())) })
	return f
}

// userOf returns the database user of a function of the catalogue, by its folder; it is empty for a function of a test.
func userOf(f Function, config map[string]string) string {
	folder, ours := strings.CutPrefix(reflect.TypeOf(f).Elem().PkgPath(), "example.com/orders/functions/")
	if folder == "publishoutbox" {
		return "publish-outbox-" + cmp.Or(f.Shared().Schema, config["OUTBOX_SCHEMA"])
	}
	for _, user := range privilege.Names() {
		if ours && strings.ReplaceAll(user, "-", "") == folder {
			return user
		}
	}
	return ""
}

// OrderID returns a new order's id.
func OrderID() string { return uuid.Must(uuid.NewV7()).String() }

// CorrelationID is the correlation id of every event of Event.
const CorrelationID = "flow-1"

// Event returns the n-th fact about an order, as its service emits it.
func Event(t testing.TB, data events.Data, n int) event.Event {
	t.Helper()
	e, err := events.New(data, n, time.Now(), events.Cause{CorrelationID: CorrelationID, CausationID: "cause-1"})
	require.NoError(t, err)
	return e
}

// Created returns the data of order.created, in its newest version, for a new order with these lines.
func Created(t testing.TB, items ...events.Item) events.OrderCreated {
	t.Helper()
	total, err := events.Total(items)
	require.NoError(t, err)
	return events.OrderCreated{
		OrderID: OrderID(), CustomerEmail: "alice@example.com", Items: items, TotalAmount: total,
		Currency: "EUR", Channel: events.ChannelHTTP, CreatedAt: time.Now(),
	}
}

// Broken returns e with data that is not JSON.
func Broken(e event.Event) event.Event {
	e = e.Clone()
	e.DataEncoded = []byte(`{"eventType":`)
	return e
}

// AssertPoison asserts that a function's answer turns its event into a dead letter at once.
func AssertPoison(t testing.TB, err error) {
	t.Helper()
	assert.Equal(t, http.StatusUnprocessableEntity, delivery.Status(err), "%v", err)
	assert.Equal(t, delivery.DeadLetter, delivery.Judge(delivery.Status(err)))
}

// AssertRetried asserts that a function's answer makes its event be retried.
func AssertRetried(t testing.TB, err error) {
	t.Helper()
	assert.Equal(t, http.StatusServiceUnavailable, delivery.Status(err), "%v", err)
	assert.Equal(t, delivery.Retry, delivery.Judge(delivery.Status(err)))
}

// Concurrently calls do with 0 to n-1 in parallel and waits for all calls.
func Concurrently(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}
