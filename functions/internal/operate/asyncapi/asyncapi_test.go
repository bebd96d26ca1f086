package asyncapi_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/asyncapi"
	"example.com/orders/functions/internal/testkit/asyncapitest"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/knative"
)

const root = "../../../../"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(root + path)
	require.NoError(t, err)
	return string(text)
}

// documents has the documents of the base, by the name "", and of each overlay that routes events in another way.
func documents(t *testing.T) map[string]asyncapi.Document {
	t.Helper()
	all := map[string]asyncapi.Document{}
	for _, overlay := range append([]string{""}, knative.Routings()...) {
		d, err := asyncapi.Of(knative.Manifests(), overlay, asyncapi.Options{})
		require.NoError(t, err)
		all[overlay] = d
	}
	return all
}

func TestTheDocumentsAreWhatTheCodeAndTheManifestsSay(t *testing.T) {
	files, err := asyncapi.Files(knative.Manifests(), asyncapi.Options{})
	require.NoError(t, err)
	require.Contains(t, files, "events/asyncapi.yaml")
	for path, text := range files {
		if text := string(text); text != read(t, path) { // without the difference, which is long
			t.Errorf("%s is out of date: run go run ./functions/harness asyncapi --write, and commit it", path)
		}
	}
	stored, err := os.ReadDir(root + "events")
	require.NoError(t, err)
	for _, file := range stored {
		if strings.HasPrefix(file.Name(), "asyncapi") {
			assert.Contains(t, files, "events/"+file.Name(), "nothing writes it any more: remove it")
		}
	}
}

func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	for overlay, d := range documents(t) {
		text, err := json.Marshal(d)
		require.NoError(t, err)
		var whole map[string]any
		require.NoError(t, json.Unmarshal(text, &whole))
		references := regexp.MustCompile(`"\$ref":"#/([^"]+)"`).FindAllSubmatch(text, -1)
		assert.NotEmpty(t, references)
		for _, reference := range references {
			value := any(whole)
			for segment := range strings.SplitSeq(string(reference[1]), "/") {
				object, _ := value.(map[string]any)
				value = object[segment]
			}
			assert.NotNil(t, value, "%q: %s", overlay, reference[1])
		}
	}
}

func TestEveryContractIsDescribedAndHasAProducer(t *testing.T) {
	described, sent := map[string]bool{}, map[string]bool{}
	for _, d := range documents(t) {
		for _, m := range d.Components.Messages {
			if m.Contract != nil {
				described[m.Examples[0].Name] = true
			}
		}
		for _, o := range d.Operations {
			if o.Action == asyncapi.Send {
				sent[strings.TrimPrefix(o.Channel.Ref, "#/channels/")] = true
			}
		}
	}
	for _, c := range events.Contracts() {
		assert.True(t, described[strings.TrimSuffix(c.File, ".json")], "no topic of base or overlays has %s", c.File)
		assert.True(t, sent[c.Type], "%s has no known producer: add it to emits", c.Type)
	}
}

var linked = regexp.MustCompile(`^\| \[(.*)\]\(.*\) \| `)

// TestTheProducersAreThoseOfTheCatalogue compares the tables of events/README.md, which say by hand who emits an event.
func TestTheProducersAreThoseOfTheCatalogue(t *testing.T) {
	said, sends := map[string][]string{}, map[string]map[string]bool{}
	for line := range strings.Lines(read(t, "events/README.md")) {
		if found := linked.FindStringSubmatch(line); found != nil && slices.Contains(events.Types(), found[1]) {
			names := strings.Split(strings.Split(line, " | ")[2], ", ")
			slices.Sort(names)
			said[found[1]] = names
		}
	}
	for _, d := range documents(t) {
		for _, o := range d.Operations {
			if topic := strings.TrimPrefix(o.Channel.Ref, "#/channels/"); o.Action == asyncapi.Send && !o.DeadLetters {
				if sends[topic] == nil {
					sends[topic] = map[string]bool{}
				}
				sends[topic][o.Function] = true
			}
		}
	}
	sorted := map[string][]string{}
	for topic, names := range sends {
		sorted[topic] = slices.Sorted(maps.Keys(names))
	}
	assert.Equal(t, said, sorted)
}

func TestEachOperationSaysHowItsFunctionIsServed(t *testing.T) {
	d := documents(t)["payment"]
	receive := d.Operations["finalize-order.receive.payment.declined"]
	assert.Equal(t, &asyncapi.Delivery{
		Group: "finalize-order.payment.declined", Consumers: 4, Retry: 10, Backoff: "exponential", DelayMillis: 300, TimeoutMillis: 30_000,
		DeadLetters: asyncapi.Reference{Ref: "#/channels/payment.declined.dlq"},
	}, receive.Delivery)
	assert.Equal(t, map[string]any{"type": "string", "const": "finalize-order.payment.declined"}, receive.Bindings.Kafka.Group)
	assert.Equal(t, []asyncapi.Tag{{Name: "finalize-order"}, {Name: "overlay payment"}}, receive.Tags)
	assert.Equal(t, []asyncapi.Tag{{Name: "finalize-order"}}, d.Operations["finalize-order.receive.inventory.reserved"].Tags, "the base has it, too")
	assert.Equal(t, "publish-outbox-payments", d.Operations["authorize-payment.send.payment.declined"].Relay)
	assert.NotContains(t, d.Operations, "reserve-stock.receive.order.created", "the overlay removes it")
	assert.True(t, d.Operations["finalize-order.setaside.payment.declined"].DeadLetters)
}

func TestAPrefixIsInAddressesAndGroupsOnly(t *testing.T) {
	w, err := knative.Load(knative.Base())
	require.NoError(t, err)
	plain, err := asyncapi.New(w, asyncapi.Options{})
	require.NoError(t, err)
	w, err = w.WithTopicPrefix("my.")
	require.NoError(t, err)
	prefixed, err := asyncapi.New(w, asyncapi.Options{Prefix: "my.", Brokers: []string{"127.0.0.1:1", "127.0.0.1:2"}})
	require.NoError(t, err)
	assert.Equal(t, "my.order.created.dlq", prefixed.Channels["order.created.dlq"].Address)
	assert.Equal(t, "my.notify.order.failed", prefixed.Operations["notify.receive.order.failed"].Bindings.Kafka.Group["const"])
	assert.Equal(t, slices.Sorted(maps.Keys(plain.Operations)), slices.Sorted(maps.Keys(prefixed.Operations)))
	assert.Equal(t, slices.Sorted(maps.Keys(plain.Components.Messages)), slices.Sorted(maps.Keys(prefixed.Components.Messages)))
	assert.Len(t, prefixed.Servers, 2)
}

func TestATopicWithoutAContractIsRefused(t *testing.T) {
	w, err := knative.Load(knative.Base())
	require.NoError(t, err)
	w.Topics = append(w.Topics, knative.Topic{Name: "nothing.happened"})
	_, err = asyncapi.New(w, asyncapi.Options{})
	assert.ErrorContains(t, err, "no event has the type nothing.happened: add it to package events")
	w.Topics[len(w.Topics)-1] = knative.Topic{Name: "order.created", Config: map[string]string{"min.insync.replicas": "2"}}
	_, err = asyncapi.New(w, asyncapi.Options{})
	assert.ErrorContains(t, err, "min.insync.replicas: 2 has no place in AsyncAPI's bindings")
}

// recordOf is the record that a relay writes.
func recordOf(t *testing.T) *sarama.ConsumerMessage {
	t.Helper()
	order := functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 1})
	e, err := events.New(events.OrderCanceled{
		OrderID: order.OrderID, CustomerEmail: order.CustomerEmail, PreviousStatus: events.StatusPending, CreatedAt: time.Now(),
	}, 2, time.Now(), events.Cause{
		CorrelationID: "c", CausationID: "d", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Tracestate: "a=1",
	})
	require.NoError(t, err)
	m, err := kafka.Encode(t.Context(), e)
	require.NoError(t, err)
	r := &sarama.ConsumerMessage{Topic: m.Topic, Value: e.Data()}
	r.Key, err = m.Key.Encode()
	require.NoError(t, err)
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, &h)
	}
	return r
}

func TestTheDocumentAllowsARecordAndNothingElse(t *testing.T) {
	document := asyncapitest.Read(t, []byte(read(t, "events/asyncapi.yaml")))
	message, err := document.Message(recordOf(t))
	require.NoError(t, err)
	assert.Equal(t, "order.canceled.v1", message)

	header := func(name, value string) *sarama.RecordHeader {
		return &sarama.RecordHeader{Key: []byte(name), Value: []byte(value)}
	}
	for how, test := range map[string]struct {
		change func(*sarama.ConsumerMessage)
		says   string
	}{
		"another topic":            {func(r *sarama.ConsumerMessage) { r.Topic = "order.renamed" }, "not described"},
		"the topic of another one": {func(r *sarama.ConsumerMessage) { r.Topic = "order.failed" }, "ce_type"},
		"a header more":            {func(r *sarama.ConsumerMessage) { r.Headers = append(r.Headers, header("ce_color", "red")) }, "ce_color"},
		"a header twice":           {func(r *sarama.ConsumerMessage) { r.Headers = append(r.Headers, r.Headers[0]) }, "twice"},
		"a header less": {func(r *sarama.ConsumerMessage) {
			r.Headers = slices.DeleteFunc(r.Headers, func(h *sarama.RecordHeader) bool { return string(h.Key) == "ce_dataschema" })
		}, "ce_dataschema"},
		"another key": {func(r *sarama.ConsumerMessage) { r.Key = []byte("1") }, "key"},
		"no key":      {func(r *sarama.ConsumerMessage) { r.Key = nil }, "key"},
		"no JSON":     {func(r *sarama.ConsumerMessage) { r.Value = r.Value[1:] }, "value"},
		"another status": {func(r *sarama.ConsumerMessage) {
			r.Value = []byte(strings.Replace(string(r.Value), "PENDING", "FAILED", 1))
		}, "previousStatus"},
	} {
		t.Run(how, func(t *testing.T) {
			r := recordOf(t)
			test.change(r)
			_, err := document.Message(r)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

func TestTheDocumentAllowsARecordInAvroAndNothingElse(t *testing.T) {
	document := asyncapitest.Read(t, []byte(read(t, "events/asyncapi.yaml")))
	inJSON := recordOf(t)
	inAvro := func() *sarama.ConsumerMessage {
		m := &sarama.ProducerMessage{Value: sarama.ByteEncoder(inJSON.Value)}
		for _, h := range inJSON.Headers {
			m.Headers = append(m.Headers, *h)
		}
		m = asyncapitest.InAvro(t, inJSON.Topic, m)
		r := &sarama.ConsumerMessage{Topic: inJSON.Topic, Key: inJSON.Key}
		for _, h := range m.Headers {
			r.Headers = append(r.Headers, &h)
		}
		var err error
		r.Value, err = m.Value.Encode()
		require.NoError(t, err)
		return r
	}
	message, err := document.Message(inAvro())
	require.NoError(t, err)
	assert.Equal(t, "order.canceled.v1.avro", message)
	data, err := document.JSON(inAvro(), message)
	require.NoError(t, err)
	assert.JSONEq(t, string(inJSON.Value), string(data))

	for how, test := range map[string]struct {
		change func(*sarama.ConsumerMessage)
		says   string
	}{
		"the media type of JSON": {func(r *sarama.ConsumerMessage) { r.Headers = inJSON.Headers }, "content-type"},
		"data in JSON":           {func(r *sarama.ConsumerMessage) { r.Value = inJSON.Value }, "does not begin with a zero"},
		"no id of a schema":      {func(r *sarama.ConsumerMessage) { r.Value = r.Value[:4] }, "does not begin with a zero"},
		"data that is cut":       {func(r *sarama.ConsumerMessage) { r.Value = r.Value[:len(r.Value)-1] }, "it is no order.canceled.v1.avro: value"},
	} {
		t.Run(how, func(t *testing.T) {
			r := inAvro()
			test.change(r)
			_, err := document.Message(r)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

func TestTheExamplesAreRecordsOfTheirMessage(t *testing.T) {
	for overlay, d := range documents(t) {
		document := asyncapitest.Read(t, []byte(read(t, asyncapi.File(overlay))))
		for id, m := range d.Components.Messages {
			for _, example := range m.Examples {
				r := &sarama.ConsumerMessage{Topic: m.Name, Key: []byte(example.Headers["ce_subject"]), Value: example.Payload}
				for name, value := range example.Headers {
					r.Headers = append(r.Headers, &sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
				}
				message, err := document.Message(r)
				require.NoError(t, err)
				assert.Equal(t, id, message)
				assert.NoError(t, events.Check(kafka.Decode(r, "", "")), "a consumer reads it")
			}
		}
	}
}

func TestEachSchemaIsServedUnderThePathOfItsURI(t *testing.T) {
	mux := http.NewServeMux()
	asyncapi.Register(mux, documents(t)[""])
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	var listed []struct {
		Type, ID, Path string
		Version        int
	}
	require.NoError(t, json.Unmarshal(get("/schemas/").Body.Bytes(), &listed))
	assert.Len(t, listed, len(events.Contracts()))
	for _, l := range listed {
		answer := get(l.Path)
		assert.Equal(t, "application/schema+json", answer.Header().Get("Content-Type"))
		var schema map[string]any
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &schema), l.Path)
		assert.Equal(t, l.ID, schema["$id"])
		assert.Equal(t, "https://example.com"+l.Path, l.ID)
	}
	assert.Equal(t, http.StatusNotFound, get("/orders/schemas/order.created.v99.json").Code)
	assert.Equal(t, http.StatusNotFound, get("/orders/schemas/..%2fevent.go").Code)
	var served map[string]any
	require.NoError(t, json.Unmarshal(get("/asyncapi.json").Body.Bytes(), &served))
	assert.Equal(t, "3.0.0", served["asyncapi"])
}
