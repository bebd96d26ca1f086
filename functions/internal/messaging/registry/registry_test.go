package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"example.com/orders/events"
	"example.com/orders/events/avro"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/registrytest"
)

// fake is a registry in this process.
type fake struct{ *registrytest.Registry }

func newFake(t *testing.T) fake {
	t.Helper()
	return fake{registrytest.Start(t)}
}

// client returns a client that does not remember what an earlier one learned, nor its failures.
func (f fake) client(t *testing.T) *Registry {
	t.Helper()
	r, err := Open(f.Config("KAFKA_TOPIC_PREFIX", "test."))
	require.NoError(t, err)
	return r
}

func (f fake) register(t *testing.T) fake {
	t.Helper()
	_, err := f.client(t).Register(t.Context())
	require.NoError(t, err)
	return f
}

// golden returns the golden event of each contract.
func golden(t testing.TB) (all []event.Event) {
	t.Helper()
	for _, c := range events.Contracts() {
		pretty, err := fs.ReadFile(events.Examples(), c.File)
		require.NoError(t, err)
		var data bytes.Buffer
		require.NoError(t, json.Compact(&data, pretty))
		var head struct{ OrderID string }
		require.NoError(t, json.Unmarshal(data.Bytes(), &head))
		e := event.New()
		e.SetID(head.OrderID + "#1")
		e.SetType(c.Type)
		e.SetSource(c.Source)
		e.SetSubject(head.OrderID)
		e.SetDataSchema(c.URI)
		e.SetDataContentType(event.ApplicationJSON)
		e.SetExtension("correlationid", "flow-1")
		e.DataEncoded = data.Bytes()
		require.NoError(t, events.Check(e))
		all = append(all, e)
	}
	return all
}

// published publishes events, and returns what came out.
func published(t *testing.T, r *Registry, es ...event.Event) []event.Event {
	t.Helper()
	next := &outboxtest.Publisher{}
	for _, o := range NewPublisher(next, r, events.OrdersSource).Publish(t.Context(), es) {
		require.NoError(t, o.Err)
	}
	require.Len(t, next.Events(), len(es))
	return next.Events()
}

func TestEveryFactIsReadAsItWasWritten(t *testing.T) {
	f := newFake(t).register(t)
	reader := NewReader(f.client(t))
	written := golden(t)
	for i, e := range published(t, f.client(t), golden(t)...) {
		assert.Equal(t, MediaType, e.DataMediaType())
		assert.Equal(t, byte(0), e.Data()[0])
		assert.Less(t, len(e.Data()), len(written[i].Data()))
		back, err := reader.JSON(t.Context(), e)
		require.NoError(t, err)
		assert.Equal(t, written[i], back, "the attributes and every byte of the data")
		require.NoError(t, events.Check(back))
	}
}

func TestEventsInJSONAreLeftAlone(t *testing.T) {
	e := golden(t)[0]
	for name, r := range map[string]*Reader{"without a registry": nil, "with one": NewReader(newFake(t).client(t))} {
		same, err := r.JSON(t.Context(), e)
		require.NoError(t, err, name)
		assert.Equal(t, e, same, name)
		assert.NoError(t, r.Err(t.Context()), name)
	}
}

func TestThePublisherLeavesTheEventsOfItsCallerAlone(t *testing.T) {
	e := golden(t)[0]
	published(t, newFake(t).register(t).client(t), e)
	assert.Equal(t, golden(t)[0], e)
}

func TestWithoutItsSchemaNothingIsPublishedAndNothingRefused(t *testing.T) {
	f := newFake(t)
	next := &outboxtest.Publisher{}
	p := NewPublisher(next, f.client(t), events.OrdersSource)
	outcomes := p.Publish(t.Context(), golden(t))
	for _, o := range outcomes {
		require.ErrorIs(t, o.Err, ErrNotRegistered)
		assert.NotErrorIs(t, o.Err, outbox.ErrRefused, "the row stays as it is")
	}
	require.Len(t, outcomes, len(golden(t)))
	assert.Empty(t, next.Events())
	assert.ErrorContains(t, p.Err(t.Context()), `run "harness schemas register"`)

	f.register(t)
	require.NoError(t, p.Err(t.Context()), "without a restart")
	assert.NoError(t, p.Publish(t.Context(), golden(t)[:1])[0].Err)
}

func TestDataThatDoesNotFitIsRefused(t *testing.T) {
	e := golden(t)[0]
	e.DataEncoded = []byte(`{"eventType":"` + e.Type() + `","version":1,"unknown":1}`)
	outcomes := NewPublisher(&outboxtest.Publisher{}, newFake(t).register(t).client(t), events.OrdersSource).Publish(t.Context(), []event.Event{e})
	assert.ErrorIs(t, outcomes[0].Err, outbox.ErrRefused)
}

// silent is a publisher that forgets an outcome.
type silent struct{ outboxtest.Publisher }

func (*silent) Publish(context.Context, []event.Event) []outbox.Outcome { return nil }

func TestAMissingOutcomeIsNotASuccess(t *testing.T) {
	p := NewPublisher(&silent{}, newFake(t).register(t).client(t), events.OrdersSource)
	assert.Error(t, p.Publish(t.Context(), golden(t)[:1])[0].Err)
}

func TestAPublisherGoesOnWithoutTheRegistryByWhatItKnows(t *testing.T) {
	f := newFake(t).register(t)
	next := &outboxtest.Publisher{}
	p := NewPublisher(next, f.client(t), events.OrdersSource)
	require.NoError(t, p.Err(t.Context()))
	f.Away.Store(true)
	before := f.Requests.Load()
	var ofOrders, others []event.Event
	for _, e := range golden(t) {
		if e.Source() == events.OrdersSource {
			ofOrders = append(ofOrders, e)
		} else {
			others = append(others, e)
		}
	}
	for _, o := range p.Publish(t.Context(), ofOrders) {
		assert.NoError(t, o.Err)
	}
	assert.Equal(t, before, f.Requests.Load(), "the ids of the source's schemas are known")
	assert.NoError(t, p.Err(t.Context()))
	for _, o := range p.Publish(t.Context(), others) {
		require.ErrorIs(t, o.Err, ErrAway)
		assert.NotErrorIs(t, o.Err, outbox.ErrRefused)
	}
	assert.Equal(t, before+1, f.Requests.Load(), "a batch does not ask for each of its events")

	restarted := NewPublisher(next, f.client(t), events.OrdersSource)
	assert.ErrorIs(t, restarted.Err(t.Context()), ErrAway, "ids are kept in memory")
}

func TestAReaderWaitsForTheRegistry(t *testing.T) {
	f := newFake(t).register(t)
	e := published(t, f.client(t), golden(t)[0])[0]
	r := f.client(t)
	reader := NewReader(r)
	f.Away.Store(true)
	_, err := reader.JSON(t.Context(), e)
	require.ErrorIs(t, err, ErrAway)
	assert.False(t, delivery.IsPoison(err), "the event is not to blame")
	require.ErrorIs(t, reader.Err(t.Context()), ErrAway, "the reader cannot work, so its source waits")

	f.Away.Store(false)
	assert.Eventually(t, func() bool { return reader.Err(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
	_, err = reader.JSON(t.Context(), e)
	require.NoError(t, err)

	f.Away.Store(true)
	_, err = reader.JSON(t.Context(), e)
	require.NoError(t, err, "by what it knows")
	assert.NoError(t, reader.Err(t.Context()))
}

func TestNothingWaitsForASchemaThatDoesNotExist(t *testing.T) {
	f := newFake(t).register(t)
	e := published(t, f.client(t), golden(t)[0])[0]
	copy(e.DataEncoded[1:], []byte{0, 0, 0xFF, 0xFF})
	f.Away.Store(true)
	reader := NewReader(f.client(t))
	_, err := reader.JSON(t.Context(), e)
	require.ErrorIs(t, err, ErrAway, "nobody knows yet")
	f.Away.Store(false)
	require.Eventually(t, func() bool { return reader.Err(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
	_, err = reader.JSON(t.Context(), e)
	require.True(t, delivery.IsPoison(err), "the registry has said so: %v", err)
	f.Away.Store(true)
	assert.NoError(t, reader.Err(t.Context()))
}

func TestAnAnswerOfAProxyIsNoAnswerOfTheRegistry(t *testing.T) {
	f := newFake(t).register(t)
	e := published(t, f.client(t), golden(t)[0])[0]
	f.Intercept(func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true })
	_, err := NewReader(f.client(t)).JSON(t.Context(), e)
	require.ErrorIs(t, err, ErrAway)
	assert.False(t, delivery.IsPoison(err))
}

func TestWhatNoSchemaReadsIsPoison(t *testing.T) {
	f := newFake(t).register(t)
	events := published(t, f.client(t), golden(t)...)
	data := events[0].Data()
	reader := NewReader(f.client(t))
	for name, bad := range map[string][]byte{
		"nothing":          {},
		"no id":            {0, 0, 0},
		"another magic":    append([]byte{1}, data[1:]...),
		"JSON":             []byte(`{"version":1}`),
		"an unknown id":    append([]byte{0, 0, 0, 0xFF, 0xFF}, data[5:]...),
		"another schema's": append(bytes.Clone(events[len(events)-1].Data()[:5]), data[5:]...),
		"cut":              data[:len(data)-1],
	} {
		e := events[0].Clone()
		e.DataEncoded = bad
		_, err := reader.JSON(t.Context(), e)
		assert.True(t, delivery.IsPoison(err), "%s: %v", name, err)
	}
	assert.NoError(t, reader.Err(t.Context()), "nothing waits")
	_, err := (*Reader)(nil).JSON(t.Context(), events[0])
	assert.True(t, delivery.IsPoison(err))
	assert.ErrorContains(t, err, "SCHEMA_REGISTRY_URL")
}

func TestOpenSaysWhatToSet(t *testing.T) {
	_, err := Open(nil)
	require.ErrorIs(t, err, ErrNotConfigured)
	for says, config := range map[string]map[string]string{
		`"localhost:8081": give http://host:8081`: {"SCHEMA_REGISTRY_URL": "localhost:8081"},
		`SCHEMA_REGISTRY_USER`:                    {"SCHEMA_REGISTRY_URL": "http://me:secret@127.0.0.1"},
		`only one of`:                             {"SCHEMA_REGISTRY_URL": "http://127.0.0.1", "SCHEMA_REGISTRY_USER": "me"},
	} {
		_, err := OpenReader(config)
		require.ErrorContains(t, err, says)
		assert.NotContains(t, err.Error(), "secret")
	}
	r, err := OpenReader(nil)
	require.NoError(t, err)
	assert.Nil(t, r)
}

func TestRegistrationsAreRepeatable(t *testing.T) {
	f := newFake(t)
	listed, err := f.client(t).List(t.Context())
	require.NoError(t, err)
	for _, s := range listed {
		assert.Zero(t, s.ID, s)
	}
	first, err := f.client(t).Register(t.Context())
	require.NoError(t, err)
	again, err := f.client(t).Register(t.Context())
	require.NoError(t, err)
	assert.Equal(t, first, again)
	require.Len(t, first, len(avro.Schemas()))
	for _, s := range first {
		assert.True(t, strings.HasPrefix(s.Subject, "test."), s)
		got := f.client(t).client.Compatibility(t.Context(), s.Subject)[0]
		require.NoError(t, got.Err)
		assert.Equal(t, sr.CompatBackwardTransitive, got.Level, s.Subject)
	}
}

// realRegistry returns a client of the registry of SCHEMA_REGISTRY_URL, which .ci/services/registry starts, with subjects of its own.
func realRegistry(t *testing.T) *Registry {
	t.Helper()
	address := os.Getenv("SCHEMA_REGISTRY_URL")
	if address == "" {
		t.Skip("SCHEMA_REGISTRY_URL names no registry")
	}
	r, err := Open(map[string]string{"SCHEMA_REGISTRY_URL": address, "KAFKA_TOPIC_PREFIX": "t" + uuid.NewString()[:8] + "."})
	require.NoError(t, err)
	return r
}

func TestARealRegistryTakesAllVersionsAndGivesThemBack(t *testing.T) {
	r := realRegistry(t)
	checked, err := r.Check(t.Context())
	require.NoError(t, err)
	for _, s := range checked {
		assert.False(t, s.Refused, "%s can be the first of its subject", s)
	}
	first, err := r.Register(t.Context())
	require.NoError(t, err)
	again, err := r.Register(t.Context())
	require.NoError(t, err)
	assert.Equal(t, first, again)
	reader := NewReader(r)
	for i, e := range published(t, r, golden(t)...) {
		back, err := reader.JSON(t.Context(), e)
		require.NoError(t, err)
		assert.Equal(t, golden(t)[i], back)
	}
	t.Cleanup(func() {
		require.NoError(t, r.Unregister(context.Background()))
		require.NoError(t, r.Unregister(context.Background()), "again")
		listed, err := r.List(context.Background())
		require.NoError(t, err)
		assert.Zero(t, listed[0].ID)
	})
	unknown := published(t, r, golden(t)[0])[0]
	copy(unknown.DataEncoded[1:], []byte{0x7F, 0, 0, 0})
	_, err = reader.JSON(t.Context(), unknown)
	assert.True(t, delivery.IsPoison(err), "the registry says that there is no such id: %v", err)
}

func TestARealRegistryRefusesAnIncompatibleSchema(t *testing.T) {
	r := realRegistry(t)
	_, err := r.Register(t.Context())
	require.NoError(t, err)
	subject := r.Subject(events.OrderCreatedType)
	// A field without a default that older data does not have, and a field of another type.
	for name, change := range map[string][2]string{
		"a new required field": {`"fields": [`, `"fields": [{"name":"discount","type":"long"},`},
		"another type":         {`"name": "totalAmount",` + "\n      \"type\": \"long\"", `"name": "totalAmount", "type": "string"`},
	} {
		for _, s := range avro.Schemas() {
			if s.Type != events.OrderCreatedType || !s.Newest {
				continue
			}
			text := strings.Replace(s.Text, change[0], change[1], 1)
			require.NotEqual(t, s.Text, text, name)
			result, err := r.client.CheckCompatibility(sr.WithParams(t.Context(), sr.Verbose), subject, everyVersion, sr.Schema{Schema: text, Type: sr.TypeAvro})
			require.NoError(t, err, name)
			assert.False(t, result.Is, name)
			_, err = r.client.RegisterSchema(t.Context(), subject, sr.Schema{Schema: text, Type: sr.TypeAvro}, -1, -1)
			assert.ErrorIs(t, refused(State{}, err), ErrIncompatible, name)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	f := srfake.New()
	defer f.Close()
	r, err := Open(map[string]string{"SCHEMA_REGISTRY_URL": f.URL()})
	require.NoError(b, err)
	_, err = r.Register(b.Context())
	require.NoError(b, err)
	batch := golden(b)
	p := NewPublisher(&outboxtest.Publisher{}, r, events.OrdersSource)
	b.ReportAllocs()
	for b.Loop() {
		for _, e := range batch {
			if _, err := p.encode(b.Context(), e); err != nil {
				b.Fatal(err)
			}
		}
	}
}
