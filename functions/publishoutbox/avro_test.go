package publishoutbox

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/registrytest"
	"example.com/orders/sql/schema"
)

// startAvro starts the function on the orders schema with EVENT_FORMAT=avro.
func startAvro(t *testing.T, config map[string]string) (*Function, *outboxtest.Publisher) {
	t.Helper()
	p := &outboxtest.Publisher{}
	f := New()
	f.Schema, f.Publisher = schema.Orders, p
	return functiontest.Start(t, f, config), p
}

func TestARelayWritesAvroOnceItsSchemasAreRegistered(t *testing.T) {
	config := registrytest.Start(t).Config("EVENT_FORMAT", "avro")
	f, p := startAvro(t, config)
	e := store(t, f.DB)

	err := f.Handle(t.Context(), asking(PokeType, ""))
	functiontest.AssertRetried(t, err)
	require.ErrorIs(t, err, registry.ErrNotRegistered)
	assert.Empty(t, p.Events())
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM outbox WHERE status = 'NEW' AND attempts = 0"), "nothing is refused or parked")
	ready, err := f.Ready(t.Context())
	assert.False(t, ready)
	require.ErrorContains(t, err, `run "harness schemas register"`)

	r, err := registry.Open(config)
	require.NoError(t, err)
	_, err = r.Register(t.Context())
	require.NoError(t, err)
	ready, err = f.Ready(t.Context())
	require.NoError(t, err)
	require.True(t, ready, "without a restart")
	require.NoError(t, f.Handle(t.Context(), asking(PokeType, "")))
	require.Len(t, p.Events(), 1)
	sent := p.Events()[0]
	assert.Equal(t, registry.MediaType, sent.DataContentType())
	back, err := registry.NewReader(r).JSON(t.Context(), sent)
	require.NoError(t, err)
	assert.Equal(t, e, back)
}

func TestARelayGoesOnWithoutTheRegistry(t *testing.T) {
	away := registrytest.Start(t)
	r, err := registry.Open(away.Config())
	require.NoError(t, err)
	_, err = r.Register(t.Context())
	require.NoError(t, err)
	f, p := startAvro(t, away.Config("EVENT_FORMAT", "avro"))
	ready, err := f.Ready(t.Context())
	require.NoError(t, err)
	require.True(t, ready)
	away.Away.Store(true)

	store(t, f.DB)
	require.NoError(t, f.Handle(t.Context(), asking(PokeType, "")))
	assert.Len(t, p.Events(), 1)
	ready, err = f.Ready(t.Context())
	require.NoError(t, err)
	assert.True(t, ready)
}

func TestStartRefusesAFormatThatItCannotWrite(t *testing.T) {
	for says, config := range map[string]map[string]string{
		`EVENT_FORMAT is "xml": give json or avro`:             {"EVENT_FORMAT": "xml"},
		"EVENT_FORMAT is avro: SCHEMA_REGISTRY_URL is not set": {"EVENT_FORMAT": "avro"},
	} {
		f := New()
		f.Schema, f.Publisher = schema.Orders, &outboxtest.Publisher{}
		assert.ErrorContains(t, f.Start(t.Context(), config), says)
	}
}
