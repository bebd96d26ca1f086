package deadletter_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/testkit/registrytest"
)

// broken writes a letter whose value lacks its end, and returns the letter and the whole value.
func (b *bench) broken(t *testing.T, more ...sarama.RecordHeader) (deadletter.Letter, []byte) {
	t.Helper()
	data := functiontest.Created(t, events.Item{SKU: "SKU-1", Quantity: 1, UnitPrice: 1})
	whole := functiontest.Event(t, data, 1).Data()
	m := b.ofHarness(data.OrderID, 1, append(attributes(data.OrderID, 1), more...))
	m.Value = sarama.ByteEncoder(whole[:len(whole)-10])
	b.put(t, m)
	return b.find(t, deadletter.Selector{Key: data.OrderID})[0], whole
}

func TestACorrectedCopyIsSentAndBothVersionsAreRecorded(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	l, whole := b.broken(t)
	var o outcomes

	require.NoError(t, b.replay(c, &o).Correct(t.Context(), l, deadletter.Correction{Value: whole, Reason: "its end\nwas missing"}))

	assert.Equal(t, outcomes{"done " + l.EventID}, o)
	assert.Equal(t, []string{"POST /f/reserve-stock " + l.EventID + " " + string(whole)}, c.given, "the same event with the corrected value")
	corrections, err := deadletter.Corrections(t.Context(), b.db, l.Summary)
	require.NoError(t, err)
	require.Len(t, corrections, 1)
	assert.Equal(t, string(l.Record.Value), string(corrections[0].Original))
	assert.Equal(t, string(whole), string(corrections[0].Corrected))
	assert.Equal(t, "alice@laptop", corrections[0].Actor)
	assert.Equal(t, "its end was missing", corrections[0].Reason)
	after := b.find(t, deadletter.Selector{Key: l.Key})[0]
	assert.Equal(t, deadletter.Replayed, after.State)
	assert.Equal(t, l.Record.Value, after.Record.Value, "the letter stays as it is")
	assert.Contains(t, after.History[0].Detail, "corrected copy: to http://")
	assert.Contains(t, after.History[1].Detail, "corrected copy")
}

func TestALetterInAvroIsShownAndCorrectedAsJSON(t *testing.T) {
	t.Parallel()
	stored := registrytest.Start(t)
	schemas, err := registry.Open(stored.Config())
	require.NoError(t, err)
	_, err = schemas.Register(t.Context())
	require.NoError(t, err)
	b, c := newBench(t), newConsumers(t)
	data := functiontest.Created(t, events.Item{SKU: "SKU-1", Quantity: 1, UnitPrice: 1})
	e := functiontest.Event(t, data, 1)
	out := &outboxtest.Publisher{}
	require.NoError(t, registry.NewPublisher(out, schemas, events.OrdersSource).Publish(t.Context(), []event.Event{e})[0].Err)
	m := b.ofHarness(data.OrderID, 1, attributes(data.OrderID, 1))
	m.Value = sarama.ByteEncoder(out.Events()[0].Data())
	for i, h := range m.Headers {
		if string(h.Key) == "content-type" {
			m.Headers[i].Value = []byte(registry.MediaType)
		}
	}
	b.put(t, m)

	without := b.find(t, deadletter.Selector{Key: data.OrderID})[0]
	assert.Equal(t, without.Record.Value, without.Readable)
	assert.ErrorContains(t, without.NotReadable, "SCHEMA_REGISTRY_URL")

	b.Avro = registry.NewReader(schemas)
	l := b.find(t, deadletter.Selector{Key: data.OrderID})[0]
	require.NoError(t, l.NotReadable)
	assert.Equal(t, string(e.Data()), string(l.Readable))
	assert.Equal(t, out.Events()[0].Data(), l.Record.Value, "the letter has the bytes")
	var o outcomes
	require.ErrorContains(t, b.replay(c, &o).Correct(t.Context(), l, deadletter.Correction{Value: l.Readable}), "replay the letter instead")

	corrected := []byte(strings.Replace(string(l.Readable), `"unitPrice":1`, `"unitPrice": 1`, 1))
	require.NoError(t, b.replay(c, &o).Correct(t.Context(), l, deadletter.Correction{Value: corrected, Reason: "white space"}))
	assert.Equal(t, outcomes{"done " + l.EventID}, o)
	assert.Equal(t, []string{"POST /f/reserve-stock " + l.EventID + " " + string(corrected)}, c.given)
}

func TestACorrectionThatTheConsumerWouldRefuseIsNotSent(t *testing.T) {
	b, c := newBench(t), newConsumers(t)
	l, whole := b.broken(t)
	for name, test := range map[string]struct{ value, says string }{
		"no JSON":            {"{", "refuse"},
		"an unknown field":   {strings.Replace(string(whole), "{", `{"force":true,`, 1), "force"},
		"another order":      {strings.Replace(string(whole), l.Key, functiontest.OrderID(), 1), "subject"},
		"a price as text":    {strings.Replace(string(whole), `"unitPrice":1`, `"unitPrice":"1"`, 1), "unitPrice"},
		"the same as before": {string(l.Record.Value), "replay the letter instead"},
		"more than a record": {strings.Repeat(" ", deadletter.MaxCorrection+1), "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			var o outcomes
			err := b.replay(c, &o).Correct(t.Context(), l, deadletter.Correction{Value: []byte(test.value)})
			assert.ErrorContains(t, err, test.says)
			assert.Empty(t, o)
		})
	}
	assert.Empty(t, c.ids())
	corrections, err := deadletter.Corrections(t.Context(), b.db, l.Summary)
	require.NoError(t, err)
	assert.Empty(t, corrections)
}

func TestWhatIsNotReplayedIsNotReplayedCorrectedEither(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	cut, whole := b.broken(t, header("ce_deadlettercut", "20 of 30 bytes of the value are left"))
	forged, other := b.broken(t)
	forged.Forged = true
	var o outcomes
	require.NoError(t, b.replay(c, &o).Correct(t.Context(), cut, deadletter.Correction{Value: whole}))
	require.NoError(t, b.replay(c, &o).Correct(t.Context(), forged, deadletter.Correction{Value: other}))
	forged.Forged = false
	require.NoError(t, b.Journal.Discard(t.Context(), []deadletter.Summary{forged.Summary}, "", o.report))
	require.NoError(t, b.replay(c, &o).Correct(t.Context(), forged, deadletter.Correction{Value: other}))

	assert.Equal(t, outcomes{"not whole " + cut.EventID, "forged " + forged.EventID, "done " + forged.EventID, "changed " + forged.EventID}, o)
	assert.Empty(t, c.ids())
}

func TestACorrectedCopyThatFailsLeavesTheLetterOpen(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	c.answering(http.StatusUnprocessableEntity)
	l, whole := b.broken(t)
	var o outcomes

	require.NoError(t, b.replay(c, &o).Correct(t.Context(), l, deadletter.Correction{Value: whole}))

	assert.Equal(t, outcomes{"failed " + l.EventID}, o)
	after := b.find(t, deadletter.Selector{Key: l.Key})[0]
	assert.Equal(t, deadletter.Open, after.State)
	assert.Equal(t, 1, after.Failures)
}
