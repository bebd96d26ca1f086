package base_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/function/batch"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/registrytest"
	"example.com/orders/sql/schema"
)

// inAvro returns events as a relay with EVENT_FORMAT=avro publishes them.
func inAvro(t *testing.T, config map[string]string, es ...event.Event) []event.Event {
	t.Helper()
	r, err := registry.Open(config)
	require.NoError(t, err)
	_, err = r.Register(t.Context())
	require.NoError(t, err)
	out := &outboxtest.Publisher{}
	for _, o := range registry.NewPublisher(out, r, events.OrdersSource).Publish(t.Context(), es) {
		require.NoError(t, o.Err)
	}
	return out.Events()
}

// listener is a function that keeps the facts it is given.
type listener struct {
	base.Base
	facts chan base.Fact[events.OrderCreated]
}

func listen(t *testing.T, config map[string]string) *listener {
	t.Helper()
	l := &listener{Base: base.Base{Name: "listen", Schema: schema.Inventory}, facts: make(chan base.Fact[events.OrderCreated], 10)}
	base.Answer(&l.Base, batch.Options{Size: 1, Parallel: 1, Timeout: time.Second, AloneTimeout: time.Second}, func(_ context.Context, facts []base.Fact[events.OrderCreated], _ bool) ([]base.Outcome, error) {
		for _, f := range facts {
			l.facts <- f
		}
		return make([]base.Outcome, len(facts)), nil
	})
	return functiontest.Start(t, l, config)
}

func TestAFunctionReadsJSONAndAvroSideBySide(t *testing.T) {
	config := registrytest.Start(t).Config()
	l := listen(t, config)
	order := created(t)
	json := functiontest.Event(t, order, 1)
	avro := inAvro(t, config, json)[0]
	old := inAvro(t, config, functiontest.Event(t, order.V1(), 1))[0]
	for _, e := range []event.Event{json, avro, json} {
		require.NoError(t, l.Handle(t.Context(), e))
		got := <-l.facts
		assert.Equal(t, order.OrderID, got.Data.OrderID)
		assert.Equal(t, order.Currency, got.Data.Currency)
		assert.Equal(t, json, got.Event, "the function does not see which it was")
	}
	require.NoError(t, l.Handle(t.Context(), old))
	assert.Empty(t, (<-l.facts).Data.Currency, "version 1 is upcast")
}

func TestAnEventInAvroWaitsForTheRegistry(t *testing.T) {
	r := registrytest.Start(t)
	l := listen(t, r.Config())
	e := functiontest.Event(t, created(t), 1)
	avro := inAvro(t, r.Config(), e)[0]
	r.Away.Store(true)

	functiontest.AssertRetried(t, l.Handle(t.Context(), avro))
	ready, err := l.Ready(t.Context())
	assert.False(t, ready, "a source that sees this spends no attempts")
	require.ErrorIs(t, err, registry.ErrAway)
	require.NoError(t, l.Handle(t.Context(), e), "events in JSON need no registry")
	<-l.facts

	r.Away.Store(false)
	require.Eventually(t, func() bool { ready, _ := l.Ready(t.Context()); return ready }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, l.Handle(t.Context(), avro))
}

func TestBytesThatAreNoAvroArePoison(t *testing.T) {
	r := registrytest.Start(t)
	l := listen(t, r.Config())
	e := inAvro(t, r.Config(), functiontest.Event(t, created(t), 1))[0]
	e.DataEncoded = e.DataEncoded[:20]
	functiontest.AssertPoison(t, l.Handle(t.Context(), e))
	ready, err := l.Ready(t.Context())
	assert.True(t, ready)
	assert.NoError(t, err)

	without := listen(t, nil)
	err = without.Handle(t.Context(), e)
	assert.Equal(t, http.StatusUnprocessableEntity, delivery.Status(err))
	assert.Contains(t, delivery.Reason(err), "SCHEMA_REGISTRY_URL")
}

func TestStartRefusesARegistryThatIsNoURL(t *testing.T) {
	b := base.Base{Schema: schema.Inventory}
	assert.ErrorContains(t, b.Start(t.Context(), map[string]string{"SCHEMA_REGISTRY_URL": "registry:8081"}), "SCHEMA_REGISTRY_URL")
}
