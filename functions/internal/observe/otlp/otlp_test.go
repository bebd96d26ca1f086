package otlp_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/otlp"
	"example.com/orders/functions/internal/observe/tracing"
)

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	traceparent = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func TestRequestsAreNamedByTheirRoute(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	t.Cleanup(tracing.Use(sdk.NewTracerProvider(sdk.WithSyncer(spans))))
	mux := http.NewServeMux()
	var cause events.Cause
	mux.HandleFunc("GET /api/orders/{id}", func(_ http.ResponseWriter, r *http.Request) {
		cause = tracing.Cause(r.Context(), events.Cause{Traceparent: "theirs"})
	})
	mux.HandleFunc("/functions/x", func(http.ResponseWriter, *http.Request) {})
	handler := otlp.Handler(mux)
	for _, path := range []string{"/api/orders/1", "/functions/x", "/nowhere", "/metrics", "/health/live"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Traceparent", traceparent)
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	ended := spans.GetSpans()
	require.Len(t, ended, 3)
	assert.Equal(t, []string{"GET /api/orders/{id}", "GET /functions/x", "GET"}, []string{ended[0].Name, ended[1].Name, ended[2].Name})
	assert.Equal(t, traceID, ended[0].SpanContext.TraceID().String())
	assert.Equal(t, "00-"+traceID+"-"+ended[0].SpanContext.SpanID().String()+"-01", cause.Traceparent)
}

func TestWithoutAnEndpointARequestsTraceIsTakenOn(t *testing.T) {
	stop, err := otlp.Start(t.Context(), map[string]string{}, slog.Default())
	require.NoError(t, err)
	require.NoError(t, stop(t.Context()))
	assert.Nil(t, tracing.Provider())
	var seen context.Context
	handler := otlp.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Context() }))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Traceparent", traceparent)
	handler.ServeHTTP(httptest.NewRecorder(), r)
	assert.Equal(t, traceparent, tracing.Cause(seen, events.Cause{}).Traceparent)
}
