package gauge

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/connect"
)

func TestConnectorsAreGauges(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	g, err := Register(registry, Options{Log: slog.New(slog.DiscardHandler), Connectors: func(context.Context) (map[string]connect.Status, error) {
		return map[string]connect.Status{
			"outbox-orders":    {Connector: connect.Running, Task: connect.Running},
			"outbox-inventory": {Connector: connect.Running, Task: connect.Failed},
		}, nil
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP orders_connector_running Whether the connector that captures an outbox runs: 1, or 0 while it has failed, is stopped, or does not exist.
# TYPE orders_connector_running gauge
orders_connector_running{connector="outbox-inventory"} 0
orders_connector_running{connector="outbox-orders"} 1
`), "orders_connector_running"))
}

func TestAKafkaConnectThatDoesNotAnswerIsSeenByItsWatch(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	_, err := Register(registry, Options{Log: slog.New(slog.DiscardHandler), Connectors: func(context.Context) (map[string]connect.Status, error) {
		return nil, errors.New("connection refused")
	}})
	require.NoError(t, err)
	assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP orders_watch_up Whether the last reading of a source's gauges succeeded.
# TYPE orders_watch_up gauge
orders_watch_up{source="connectors"} 0
`), "orders_watch_up", "orders_connector_running"))
}
