package audit_test

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/registrytest"
)

// A relay that is killed before it has marked its rows, and is started again with another format, writes the same event twice.
func TestAnEventInJSONAndInAvroIsTheSameEvent(t *testing.T) {
	t.Parallel()
	stored := registrytest.Start(t)
	schemas, err := registry.Open(stored.Config())
	require.NoError(t, err)
	_, err = schemas.Register(t.Context())
	require.NoError(t, err)
	s := start(t, newTopics(t))
	confirmed, _, _ := ended(s)
	again := s.record(events.OrderConfirmedType, confirmed)
	data, err := again.Value.Encode()
	require.NoError(t, err)
	e := event.New()
	e.SetType(events.OrderConfirmedType)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = data
	out := &outboxtest.Publisher{}
	require.NoError(t, registry.NewPublisher(out, schemas, events.OrdersSource).Publish(t.Context(), []event.Event{e})[0].Err)
	again.Value = sarama.ByteEncoder(out.Events()[0].Data())
	for i, h := range again.Headers {
		if string(h.Key) == "content-type" {
			again.Headers[i].Value = []byte(registry.MediaType)
		}
	}
	s.write(again)
	s.commit()

	s.options.Avro = registry.NewReader(schemas)
	r := s.audit()
	assertClean(t, r)
	assert.Equal(t, 1, find(t, r, audit.Once).Numbers["duplicate records"])

	stored.Away.Store(true)
	unread, err := registry.OpenReader(stored.Config())
	require.NoError(t, err)
	s.options.Avro = unread
	_, err = audit.Run(t.Context(), s.options)
	assert.ErrorIs(t, err, registry.ErrAway, "no verdict without the schema")
}
