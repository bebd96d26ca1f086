package gauge

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/orders/functions/internal/operate/connect"
)

var connectorRunning = prometheus.NewDesc("orders_connector_running",
	"Whether the connector that captures an outbox runs: 1, or 0 while it has failed, is stopped, or does not exist.", []string{"connector"}, nil)

func readConnectors(ctx context.Context, statuses func(context.Context) (map[string]connect.Status, error)) (values []prometheus.Metric, err error) {
	all, err := statuses(ctx)
	for name, status := range all {
		value := 0.0
		if status.State() == connect.Running {
			value = 1
		}
		values = append(values, gauge(connectorRunning, value, name))
	}
	return values, err
}
