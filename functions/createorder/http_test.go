package createorder

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
)

const (
	body       = `{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":2,"unitPrice":1299}]}`
	otherBody  = `{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":3,"unitPrice":1299}]}`
	structured = event.ApplicationCloudEventsJSON
)

// binary returns the headers of a CloudEvent in binary mode; more adds headers, and an empty value removes one.
func binary(more ...string) http.Header {
	header := http.Header{}
	for _, pairs := range [][]string{
		{"Ce-Specversion", "1.0", "Ce-Id", "event-1", "Ce-Source", "/shop", "Ce-Type", "order.create", "Content-Type", "application/json"}, more,
	} {
		for i := 0; i < len(pairs); i += 2 {
			if header.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
				header.Del(pairs[i])
			}
		}
	}
	return header
}

func post(f *Function, header http.Header, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	f.Handle(w, r)
	return w
}

func envelope(more, data string) string {
	return `{"specversion":"1.0","id":"event-1","source":"/shop","type":"order.create"` + more + `,"datacontenttype":"application/json","data":` + data + `}`
}

// answerOf decodes the order.accepted in an answer.
func answerOf(t *testing.T, w *httptest.ResponseRecorder) (event.Event, events.OrderAnswer) {
	t.Helper()
	require.Equal(t, http.StatusCreated, w.Code, w.Body.String())
	e, err := binding.ToEvent(t.Context(), cehttp.NewMessageFromHttpResponse(w.Result()))
	require.NoError(t, err)
	require.NoError(t, e.Validate())
	var answer events.OrderAnswer
	require.NoError(t, e.DataAs(&answer))
	return *e, answer
}

func problemOf(t *testing.T, w *httptest.ResponseRecorder) (p struct {
	Status int
	Detail string
	Errors []struct{ Field, Detail string }
}) {
	t.Helper()
	assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), w.Body.String())
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	assert.Equal(t, w.Code, p.Status)
	return p
}

func TestOrderCreateIsTakenFromTheSDK(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	handler, err := host.Handler(f) // through the runtime, as in a deployment
	require.NoError(t, err)
	client, err := cloudevents.NewClientHTTP(cehttp.WithTarget(functiontest.Serve(t, handler.ServeHTTP)))
	require.NoError(t, err)
	for name, mode := range map[string]binding.Encoding{"binary": binding.EncodingBinary, "structured": binding.EncodingStructured} {
		t.Run(name, func(t *testing.T) {
			command := cloudevents.NewEvent()
			command.SetID(name)
			command.SetSource("/shop")
			command.SetType(events.OrderCreateType)
			command.SetExtension("correlationid", "flow-"+name)
			require.NoError(t, command.SetData(event.ApplicationJSON, wanted(2)))
			ctx := binding.WithForceBinary(t.Context())
			if mode == binding.EncodingStructured {
				ctx = binding.WithForceStructured(t.Context())
			}

			answer, result := client.Request(ctx, command)

			require.True(t, protocol.IsACK(result), "%v", result)
			require.NotNil(t, answer)
			assert.Equal(t, events.OrderAcceptedType, answer.Type())
			assert.Equal(t, events.OrdersSource, answer.Source())
			assert.Equal(t, "flow-"+name, answer.Extensions()["correlationid"])
			assert.Equal(t, name, answer.Extensions()["causationid"])
			var data events.OrderAnswer
			require.NoError(t, answer.DataAs(&data))
			assert.Equal(t, events.OrderAnswer{OrderID: answer.Subject(), Status: "PENDING"}, data)
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			assert.Equal(t, data.OrderID, emitted[0].Subject())
			assert.Equal(t, "flow-"+name, emitted[0].Extensions()["correlationid"])
			assert.Equal(t, name, emitted[0].Extensions()["causationid"])
		})
	}
}

func TestOrderCreateIsTakenAsAPlainRequest(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		body   string
	}{
		"binary":                    {binary(), body},
		"binary, media parameters":  {binary("Content-Type", "application/json; charset=utf-8"), body},
		"structured":                {http.Header{"Content-Type": {structured}}, envelope("", body)},
		"structured with charset":   {http.Header{"Content-Type": {structured + "; charset=utf-8"}}, envelope("", body)},
		"structured, data in bytes": {http.Header{"Content-Type": {structured}}, strings.Replace(envelope("", `"eyJjdXN0b21lckVtYWlsIjoiYUBiLmMiLCJpdGVtcyI6W3sic2t1IjoiQSIsInF1YW50aXR5IjoxLCJ1bml0UHJpY2UiOjF9XX0="`), `"data"`, `"data_base64"`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			f := functiontest.Start(t, New(), nil)
			w := post(f, c.header, c.body)
			e, answer := answerOf(t, w)
			assert.Equal(t, "/api/orders/"+answer.OrderID, w.Header().Get("Location"))
			assert.Equal(t, "PENDING", answer.Status)
			assert.Equal(t, events.OrderAcceptedType, e.Type())
			assert.Equal(t, answer.OrderID+"#accepted", e.ID())
			assert.Equal(t, answer.OrderID, e.Subject())
			assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
			assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE id = ?", answer.OrderID))
		})
	}
}

func TestTheOrderOfACloudEventNamesItsChannel(t *testing.T) {
	f := functiontest.Start(t, New(), map[string]string{"ORDER_CREATED_VERSION": "2"})
	require.Equal(t, http.StatusCreated, post(f, binary(), body).Code)
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderCreated](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, events.ChannelCloudEvent, fact.Channel)
	assert.Equal(t, "EUR", fact.Currency)
}

func TestSourceAndIDAreTheKeyOfAnEvent(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	first := post(f, binary("Ce-Correlationid", "flow-1"), body)
	_, order := answerOf(t, first)

	for name, again := range map[string]*httptest.ResponseRecorder{
		"binary":     post(f, binary("Ce-Correlationid", "flow-1"), " "+body),
		"structured": post(f, http.Header{"Content-Type": {structured}}, envelope(`,"correlationid":"flow-1"`, body)),
	} {
		_, answer := answerOf(t, again)
		assert.Equal(t, order, answer, name)
		assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"), name)
		again.Header().Del("Idempotency-Replayed")
		assert.Equal(t, first.Header(), again.Header(), name)
		assert.Equal(t, first.Body.String(), again.Body.String(), name)
	}
	for name, other := range map[string]http.Header{
		"another id": binary("Ce-Id", "event-2"), "another source": binary("Ce-Source", "/market"),
	} {
		_, answer := answerOf(t, post(f, other, body))
		assert.NotEqual(t, order.OrderID, answer.OrderID, name)
	}
	assert.Equal(t, 3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 3)
}

func TestAnEventIsTheSameHoweverItsIDIsWritten(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	_, first := answerOf(t, post(f, binary("Ce-Id", "an%20event"), body))
	for name, again := range map[string]*httptest.ResponseRecorder{
		"quoted":             post(f, binary("Ce-Id", `"an event"`), body),
		"as it is":           post(f, binary("Ce-Id", "an event"), body),
		"in structured mode": post(f, http.Header{"Content-Type": {structured}}, strings.Replace(envelope("", body), "event-1", "an event", 1)),
	} {
		_, answer := answerOf(t, again)
		assert.Equal(t, first, answer, name)
	}
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestTheSameEventWithAnotherOrderIsRefused(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	answerOf(t, post(f, binary(), body))
	w := post(f, binary(), otherBody)
	assert.Equal(t, http.StatusUnprocessableEntity, w.Code)
	assert.Contains(t, problemOf(t, w).Detail, "another body")
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestTheIdempotencyKeyExtensionReplacesSourceAndID(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	_, first := answerOf(t, post(f, binary("Ce-Idempotencykey", "k-1"), body))
	for name, w := range map[string]*httptest.ResponseRecorder{
		"another event":          post(f, binary("Ce-Idempotencykey", "k-1", "Ce-Id", "event-2"), body),
		"quoted":                 post(f, binary("Ce-Idempotencykey", `"k-1"`, "Ce-Id", "event-3"), body),
		"structured":             post(f, http.Header{"Content-Type": {structured}}, envelope(`,"idempotencykey":"k-1"`, body)),
		"structured, and quoted": post(f, http.Header{"Content-Type": {structured}}, envelope(`,"idempotencykey":"\"k-1\""`, body)),
	} {
		_, answer := answerOf(t, w)
		assert.Equal(t, first, answer, name)
	}
	_, other := answerOf(t, post(f, binary(), body))
	assert.NotEqual(t, first.OrderID, other.OrderID, "the same event without the extension")
	viaAPI, err := f.Create(t.Context(), keyed("k-1", 2))
	require.NoError(t, err)
	assert.Equal(t, first, viaAPI.OrderAnswer)
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestParallelDeliveriesOfOneEventMakeOneOrder(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	answers := make([]*httptest.ResponseRecorder, 20)
	functiontest.Concurrently(len(answers), func(i int) { answers[i] = post(f, binary(), body) })
	_, first := answerOf(t, answers[0])
	for _, w := range answers[1:] {
		_, answer := answerOf(t, w)
		assert.Equal(t, first, answer)
	}
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}

func TestCreateOrderRefusesWhatIsNoOrderCreate(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	type request struct {
		header http.Header
		body   string
	}
	structuredRequest := func(body string) request { return request{http.Header{"Content-Type": {structured}}, body} }
	for name, c := range map[string]struct {
		request
		status int
		fields []string
	}{
		"a batch":                     {request{http.Header{"Content-Type": {event.ApplicationCloudEventsBatchJSON}}, "[" + envelope("", body) + "]"}, 415, nil},
		"a batch with charset":        {request{http.Header{"Content-Type": {event.ApplicationCloudEventsBatchJSON + "; charset=utf-8"}}, "[]"}, 415, nil},
		"a batch with a broken media": {request{http.Header{"Content-Type": {event.ApplicationCloudEventsBatchJSON + ";;"}}, "[]"}, 415, nil},
		"no CloudEvent":               {request{http.Header{"Content-Type": {"application/json"}}, body}, 415, nil},
		"nothing at all":              {request{http.Header{}, ""}, 415, nil},
		"data of another media type":  {request{binary("Content-Type", "text/plain"), body}, 415, nil},
		"structured, of another type": {structuredRequest(strings.Replace(envelope("", `"<order/>"`), "application/json", "text/xml", 1)), 415, nil},
		"another type":                {request{binary("Ce-Type", "order.created"), body}, 400, nil},
		"no id":                       {request{binary("Ce-Id", ""), body}, 400, nil},
		"no source":                   {request{binary("Ce-Source", ""), body}, 400, nil},
		"no type":                     {request{binary("Ce-Type", ""), body}, 400, nil},
		"an unknown version":          {request{binary("Ce-Specversion", "9.9"), body}, 415, nil},
		"a broken time":               {request{binary("Ce-Time", "noon"), body}, 400, nil},
		"a header without a name":     {request{binary("Ce-", "x"), body}, 400, nil},
		"an extension with a bad name": {
			request{binary("Ce-Bad_name", "x"), body}, 400, nil,
		},
		"an idempotency key with blanks": {request{binary("Ce-Idempotencykey", "a b"), body}, 400, nil},
		"a long idempotency key":         {request{binary("Ce-Idempotencykey", strings.Repeat("k", 256)), body}, 400, nil},
		"no data":                        {request{binary(), ""}, 400, []string{""}},
		"broken data":                    {request{binary(), `{"customerEmail":`}, 400, []string{""}},
		"broken envelope":                {structuredRequest(`{"specversion":"1.0"`), 400, nil},
		"an envelope that is no object":  {structuredRequest(`[]`), 400, nil},
		"an envelope without version":    {structuredRequest(`{}`), 400, nil},
		"structured without data":        {structuredRequest(`{"specversion":"1.0","id":"event-1","source":"/shop","type":"order.create"}`), 400, []string{""}},
		"data as a text":                 {structuredRequest(envelope("", `"x"`)), 400, []string{""}},
		"every field bad at once": {
			request{binary(), `{"customerEmail":"alice","items":[{"sku":"","quantity":0,"unitPrice":12.99}],"more":1}`}, 400,
			[]string{"customerEmail", "items[0].sku", "items[0].quantity", "items[0].unitPrice", "more"},
		},
		"more than a MiB":             {request{binary(), strings.Repeat(" ", 1<<20+1)}, 413, nil},
		"more than a MiB, structured": {structuredRequest(strings.Repeat(" ", 1<<20+1)), 413, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := post(f, c.header, c.body)
			assert.Equal(t, c.status, w.Code, w.Body.String())
			p := problemOf(t, w)
			assert.NotEmpty(t, p.Detail)
			var fields []string
			for _, e := range p.Errors {
				fields = append(fields, e.Field)
			}
			assert.ElementsMatch(t, c.fields, fields)
		})
	}
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestCreateOrderTakesPostOnly(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		w := httptest.NewRecorder()
		f.Handle(w, httptest.NewRequest(method, "/", nil))
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		assert.Equal(t, http.MethodPost, w.Header().Get("Allow"), method)
		problemOf(t, w)
	}
}

func TestTheFlowOfAnEventIsItsExtensionElseThatOfTheRequest(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	for name, c := range map[string]struct {
		header         http.Header
		want, replaced string
	}{
		"the extension":           {binary("Ce-Correlationid", "flow-1", "X-Correlation-Id", "flow-2"), "flow-1", ""},
		"the header":              {binary("X-Correlation-Id", "flow-2"), "flow-2", ""},
		"none":                    {binary(), "", ""},
		"a bad extension is said": {binary("Ce-Correlationid", "a flow"), "", "true"},
		"a bad header is said":    {binary("X-Correlation-Id", "a flow"), "", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			c.header.Set("Ce-Id", name)
			w := post(f, c.header, body)
			e, order := answerOf(t, w)
			flow := w.Header().Get("X-Correlation-ID")
			if c.want != "" {
				assert.Equal(t, c.want, flow)
			}
			assert.True(t, events.ValidCorrelationID(flow), flow)
			assert.Equal(t, c.replaced, w.Header().Get("X-Correlation-ID-Replaced"))
			assert.Equal(t, flow, e.Extensions()["correlationid"])
			emitted := outboxtest.Drain(t, f.DB)
			require.Len(t, emitted, 1)
			assert.Equal(t, order.OrderID, emitted[0].Subject())
			assert.Equal(t, flow, emitted[0].Extensions()["correlationid"])
		})
	}
}

func TestCreateOrderAnswers503UntilItHasStarted(t *testing.T) {
	w := post(New(), binary(), body)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	problemOf(t, w)
}
