package main

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/orders/functions/internal/observe/otlp"
)

// collecting is a server that takes traces by OTLP over HTTP.
type collecting struct {
	mu    sync.Mutex
	spans []*traces.Span
}

func (o *collecting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(text, &request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, of := range request.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			o.spans = append(o.spans, scope.GetSpans()...)
		}
	}
}

// of returns the spans of a trace that have arrived, by id.
func (o *collecting) of(traceID string) map[string]*traces.Span {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := map[string]*traces.Span{}
	for _, span := range o.spans {
		if hex.EncodeToString(span.GetTraceId()) == traceID {
			found[hex.EncodeToString(span.GetSpanId())] = span
		}
	}
	return found
}

func TestOneTraceFollowsAnOrderFromPostToMail(t *testing.T) {
	server := &collecting{}
	s := newStack(t)
	s.environ = append(s.environ, otlp.Endpoint+"=http://"+answering(t, server.ServeHTTP), "OTEL_BSP_SCHEDULE_DELAY=50")
	p := s.up(t, "--log", "json")
	const traceID, client = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	header := http.Header{"Traceparent": {"00-" + traceID + "-" + client + "-01"}}
	var placed order
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPost, "/api/orders", header, body("SKU-123", 2), &placed))

	// Each step is a child of the step that caused it.
	chain := []string{
		"POST /api/orders",
		"process order.created by reserve-stock",
		"process inventory.reserved by finalize-order",
		"process order.confirmed by notify",
		"mail",
	}
	beside := map[string]string{
		"publish order.created":      "POST /api/orders",
		"publish inventory.reserved": "process order.created by reserve-stock",
		"publish order.confirmed":    "process inventory.reserved by finalize-order",
	}
	wanted := append([]string{}, chain...)
	for name := range beside {
		wanted = append(wanted, name)
	}
	var spans map[string]*traces.Span
	byName := map[string]*traces.Span{}
	p.await(t, "the trace is complete", func() bool {
		spans = server.of(traceID)
		for _, span := range spans {
			byName[span.GetName()] = span
		}
		for _, name := range wanted {
			if byName[name] == nil {
				return false
			}
		}
		return true
	})

	parent := client
	for _, name := range chain {
		assert.Equal(t, parent, hex.EncodeToString(byName[name].GetParentSpanId()), name)
		parent = hex.EncodeToString(byName[name].GetSpanId())
	}
	for name, of := range beside {
		assert.Equal(t, byName[of].GetSpanId(), byName[name].GetParentSpanId(), name)
		assert.LessOrEqual(t, byName[of].GetStartTimeUnixNano(), byName[name].GetStartTimeUnixNano())
	}
	within := map[string]bool{} // the steps with a transaction
	for _, span := range spans {
		if span.GetName() == "transaction" {
			within[spans[hex.EncodeToString(span.GetParentSpanId())].GetName()] = true
		}
	}
	for _, name := range chain[:4] {
		assert.True(t, within[name], "%s has a transaction among %v", name, within)
	}

	// And every log line about the order has it.
	p.awaitLog(t, `"outcome":"sent"`)
	lines := 0
	for line := range strings.Lines(p.log.String()) {
		if !strings.Contains(line, placed.OrderID) || !strings.HasSuffix(line, "}\n") {
			continue
		}
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		assert.Equal(t, traceID, fields["trace_id"], line)
		assert.NotEmpty(t, fields["correlation_id"], line)
		assert.NotEmpty(t, fields["function"], line)
		assert.Equal(t, placed.OrderID, fields["order_id"], line)
		if fields["msg"] == "event handled" {
			assert.InDelta(t, 1, fields["attempt"], 0, line)
			assert.NotEmpty(t, fields["event_id"], line)
		}
		if slices.Contains([]any{"create-order", "reserve-stock", "finalize-order", "notify"}, fields["function"]) {
			lines++
		}
	}
	assert.Equal(t, 5, lines, "accepted, reserved, confirmed, mailed, handled")
	p.stop(t)
}

func TestAnEndpointThatIsDownCostsNoOrder(t *testing.T) {
	s := newStack(t)
	s.environ = append(s.environ, otlp.Endpoint+"=http://"+answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}), "OTEL_BSP_SCHEDULE_DELAY=50")
	p := s.up(t)
	p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
	p.stop(t)
}
