package host_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/messaging/delivery"
)

// reacting is a function that takes events without reply, and returns a set error for each.
type reacting struct {
	answer error
	got    []event.Event
}

func (f *reacting) Handle(_ context.Context, e event.Event) error {
	f.got = append(f.got, e)
	return delivery.Result(f.answer)
}

// answering is a function that answers an event with an event.
type answering struct{ answer error }

func (f answering) Handle(_ context.Context, e event.Event) (*event.Event, error) {
	if f.answer != nil {
		return nil, delivery.Result(f.answer)
	}
	reply := event.New()
	reply.SetID("reply to " + e.ID())
	reply.SetSource("/orders")
	reply.SetType("order.accepted")
	return &reply, reply.SetData(event.ApplicationJSON, map[string]string{"status": "PENDING"})
}

// serving is a function that takes requests.
type serving struct{}

func (serving) Handle(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusTeapot)
	_, _ = io.Copy(w, r.Body)
}

// ready is a function that is not ready yet.
type ready struct {
	reacting
	yes bool
}

func (f *ready) Ready(context.Context) (bool, error) { return f.yes, nil }

func post(t *testing.T, f any, headers map[string]string, body string) *httptest.ResponseRecorder {
	t.Helper()
	handler, err := host.Handler(f)
	require.NoError(t, err)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

const data = `{"orderId": "order-1",  "n": 1}`

var binary = map[string]string{
	"Ce-Specversion": "1.0", "Ce-Id": "order-1#1", "Ce-Source": "/orders", "Ce-Type": "order.created",
	"Ce-Subject": "order-1", "Ce-Correlationid": "flow-1", "Content-Type": "application/json",
}

const structured = `{"specversion":"1.0","id":"order-1#1","source":"/orders","type":"order.created","subject":"order-1",
	"correlationid":"flow-1","datacontenttype":"application/json","data":{"orderId": "order-1",  "n": 1}}`

func TestAFunctionGetsTheEventOfEitherMode(t *testing.T) {
	cases := map[string]struct {
		headers map[string]string
		body    string
	}{
		"binary":     {binary, data},
		"structured": {map[string]string{"Content-Type": "application/cloudevents+json"}, structured},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := &reacting{}
			answer := post(t, f, c.headers, c.body)
			assert.Equal(t, delivery.Acknowledge, delivery.Judge(answer.Code), "status %d", answer.Code)
			require.Len(t, f.got, 1)
			e := f.got[0]
			assert.Equal(t, []string{"order-1#1", "/orders", "order.created", "order-1"}, []string{e.ID(), e.Source(), e.Type(), e.Subject()})
			assert.Equal(t, "flow-1", e.Extensions()["correlationid"])
			assert.Equal(t, "application/json", e.DataContentType())
			assert.JSONEq(t, data, string(e.Data()))
		})
	}
}

func TestAFunctionsErrorBecomesTheStatusOfItsAnswer(t *testing.T) {
	broken := errors.New("stock cannot be read")
	cases := map[string]struct {
		err     error
		status  int
		verdict delivery.Verdict
	}{
		"poison":  {delivery.Poison(broken), http.StatusUnprocessableEntity, delivery.DeadLetter},
		"failure": {broken, http.StatusServiceUnavailable, delivery.Retry},
	}
	for name, c := range cases {
		for kind, f := range map[string]any{"no reply": &reacting{answer: c.err}, "a reply": answering{c.err}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				answer := post(t, f, binary, data)
				assert.Equal(t, c.status, answer.Code)
				assert.Equal(t, c.verdict, delivery.Judge(answer.Code))
				assert.Equal(t, broken.Error(), strings.TrimSpace(answer.Body.String()), "for the dead letter")
			})
		}
	}
}

func TestAReplyIsABinaryEvent(t *testing.T) {
	answer := post(t, answering{}, binary, data)
	assert.Equal(t, http.StatusOK, answer.Code)
	assert.Equal(t, "order.accepted", answer.Header().Get("Ce-Type"))
	assert.Equal(t, "reply%20to%20order-1#1", answer.Header().Get("Ce-Id"))
	assert.JSONEq(t, `{"status":"PENDING"}`, answer.Body.String())
}

func TestAFunctionOfRequestsIsServedAsItIs(t *testing.T) {
	answer := post(t, serving{}, nil, "tea")
	assert.Equal(t, http.StatusTeapot, answer.Code)
	assert.Equal(t, "tea", answer.Body.String())
}

func TestHealthIsThatOfTheRuntime(t *testing.T) {
	for yes, want := range map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable} {
		handler, err := host.Handler(&ready{yes: yes})
		require.NoError(t, err)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health/readiness", nil))
		assert.Equal(t, want, recorder.Code)
	}
}

func TestAFunctionWithoutAHandleIsRefused(t *testing.T) {
	for name, f := range map[string]any{"nothing": nil, "no function": struct{}{}, "another signature": time.Now} {
		_, err := host.Handler(f)
		assert.ErrorContains(t, err, "has no Handle", name)
		_, err = host.Deliver(f)
		assert.ErrorContains(t, err, "takes no CloudEvents", name)
	}
	_, err := host.Deliver(serving{})
	assert.ErrorContains(t, err, "takes no CloudEvents")
}

func TestDeliverHandsOverTheEventAndDropsTheReply(t *testing.T) {
	broken := errors.New("broken")
	e := numbered("order.created", 1)
	f := &reacting{}
	deliver, err := host.Deliver(f)
	require.NoError(t, err)
	assert.NoError(t, deliver(t.Context(), e))
	assert.Equal(t, []event.Event{e}, f.got)

	for want, f := range map[int]any{200: answering{}, 422: answering{delivery.Poison(broken)}, 503: &reacting{answer: broken}} {
		deliver, err := host.Deliver(f)
		require.NoError(t, err)
		assert.Equal(t, want, delivery.Status(deliver(t.Context(), e)))
	}
}

func numbered(eventType string, n int) event.Event {
	e := event.New()
	e.SetID(strings.Repeat("i", n))
	e.SetSource("/orders")
	e.SetType(eventType)
	return e
}
