// Package otlp creates spans for the requests to a process and exports them to an OpenTelemetry collector, by OTLP over
// HTTP. The environment configures it.
package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"example.com/orders/functions/internal/observe/tracing"
)

// local is OpenTelemetry's default destination of spans.
const local = "http://localhost:4318/v1/traces"

// Start exports spans by OTLP over HTTP if the environment asks for it; otherwise it does nothing. Spans go through the
// proxy of the environment, since a collector may be outside. stop flushes the remaining spans, within its ctx. Export
// failures are only logged.
func Start(ctx context.Context, environ map[string]string, log *slog.Logger) (stop func(context.Context) error, err error) {
	if on, err := isOn(environ); err != nil || !on {
		return func(context.Context) error { return nil }, err
	}
	if err := validate(environ); err != nil {
		return nil, err
	}
	var options []otlptracehttp.Option
	if name, _ := setting(environ, "ENDPOINT"); name == "" {
		options = append(options, otlptracehttp.WithEndpointURL(local))
	}
	exporter, err := otlptracehttp.New(ctx, options...) // it reads the environment
	if err != nil {
		return nil, fmt.Errorf("export traces by OTLP: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "orders")),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not exported", "error", err) }))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	end := tracing.Use(provider)
	return func(ctx context.Context) error {
		end()
		return provider.Shutdown(ctx)
	}, nil
}

// propagator is the W3C trace context.
var propagator propagation.TraceContext

// Handler begins a span for each request, as a child of the trace that the request names; requests of monitoring get none.
// Without an endpoint it only continues the request's trace.
func Handler(next http.Handler) http.Handler {
	provider := tracing.Provider()
	if provider == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Traceparent") != "" {
				r = r.WithContext(propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
			}
			next.ServeHTTP(w, r)
		})
	}
	return otelhttp.NewHandler(next, "http", otelhttp.WithTracerProvider(provider), otelhttp.WithPropagators(propagator),
		otelhttp.WithSpanNameFormatter(name), otelhttp.WithFilter(func(r *http.Request) bool {
			return r.URL.Path != "/metrics" && r.URL.Path != "/info" && !strings.HasPrefix(r.URL.Path, "/health")
		}))
}

// name returns the method and, once it is known, the route.
func name(_ string, r *http.Request) string {
	switch {
	case r.Pattern == "":
		return r.Method
	case strings.Contains(r.Pattern, " "):
		return r.Pattern
	default:
		return r.Method + " " + r.Pattern
	}
}
