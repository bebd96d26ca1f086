package base_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// ordered stores one event through i.
func ordered(t *testing.T, i *base.Base) {
	t.Helper()
	require.NoError(t, i.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) {
		e, err := events.New(events.OrderConfirmed{OrderID: i.NewID(), CustomerEmail: "alice@example.com", CreatedAt: time.Now()}, 1, time.Now(), events.Cause{})
		return []event.Event{e}, err
	}))
}

func TestACommitPokesTheRelayOfAnotherProcess(t *testing.T) {
	pokes := make(chan string, 10)
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/publish-outbox-orders", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		pokes <- r.Header.Get("Authorization") + r.Header.Get("Ce-Source") + " " + string(body)
		<-release // the relay is busy: no function waits for it
	})
	listening := functiontest.Serve(t, mux.ServeHTTP)
	i := &base.Base{Name: "create-order", Schema: schema.Orders, DB: mysqltest.Open(t, schema.Orders)}
	require.NoError(t, i.Start(t.Context(), map[string]string{"OUTBOX_POKE_URL": listening + "/publish-outbox-{schema}"}))

	ordered(t, i)
	assert.Regexp(t, `^/create-order \{"shards":\[\d\]\}$`, <-pokes)
	ordered(t, i)
	close(release)
	assert.NoError(t, i.Stop(t.Context()))
	assert.NoError(t, i.Stop(t.Context()))
}

func TestARelayIsPokedWithItsToken(t *testing.T) {
	const own, ofTheRelay = "the-token-of-the-function", "the-token-of-the-relay"
	for want, tokens := range map[string]map[string]string{
		"Bearer " + own:        {"SINK_TOKEN": own},
		"Bearer " + ofTheRelay: {"SINK_TOKEN": own, "OUTBOX_POKE_TOKEN": ofTheRelay},
	} {
		pokes := make(chan string, 10)
		tokens["OUTBOX_POKE_URL"] = functiontest.Serve(t, func(_ http.ResponseWriter, r *http.Request) { pokes <- r.Header.Get("Authorization") })
		i := &base.Base{Name: "create-order", Schema: schema.Orders, DB: mysqltest.Open(t, schema.Orders)}
		require.NoError(t, i.Start(t.Context(), tokens))
		ordered(t, i)
		assert.Equal(t, want, <-pokes)
		assert.NoError(t, i.Stop(t.Context()))
	}
	i := &base.Base{Name: "create-order", Schema: schema.Orders}
	assert.ErrorContains(t, i.Start(t.Context(), map[string]string{"OUTBOX_POKE_URL": "http://relay", "OUTBOX_POKE_TOKEN": "short"}), "OUTBOX_POKE_TOKEN")
}

func TestARelayThatCannotBePokedHoldsUpNothing(t *testing.T) {
	i := &base.Base{Name: "create-order", Schema: schema.Orders, DB: mysqltest.Open(t, schema.Orders), Log: slog.New(slog.DiscardHandler)}
	require.NoError(t, i.Start(t.Context(), map[string]string{"OUTBOX_POKE_URL": "http://" + porttest.Address(t)}))
	ordered(t, i)
	ordered(t, i)
	assert.NoError(t, i.Stop(t.Context()))
	assert.Equal(t, 2, mysqltest.Count(t, i.DB, "SELECT COUNT(*) FROM outbox WHERE status = 'NEW'"))
}

func TestAnAddressOfNoRelayEndsTheStart(t *testing.T) {
	i := &base.Base{Name: "create-order", Schema: schema.Orders}
	assert.ErrorContains(t, i.Start(t.Context(), map[string]string{"OUTBOX_POKE_URL": "publish-outbox"}), `OUTBOX_POKE_URL: the relay's address "publish-outbox"`)
	assert.NoError(t, i.Stop(t.Context()))
}
