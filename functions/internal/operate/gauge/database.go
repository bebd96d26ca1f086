package gauge

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/functions/internal/operate/settle"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/orders"
)

var (
	ordersByStatus  = prometheus.NewDesc("orders_by_status", "Orders that are stored, by their status.", []string{"status"}, nil)
	oldestPending   = prometheus.NewDesc("orders_oldest_pending_age_seconds", "Age of the oldest pending order, 0 without one.", nil, nil)
	outboxRows      = prometheus.NewDesc("orders_outbox_rows", "Stored events that are not sent, by schema: new, waiting for a retry, parked. Counted up to 100,000.", []string{"schema", "state"}, nil)
	oldestUnsent    = prometheus.NewDesc("orders_outbox_oldest_unsent_age_seconds", "Age of the oldest unsent event, 0 without one.", []string{"schema"}, nil)
	oldestParked    = prometheus.NewDesc("orders_outbox_oldest_parked_age_seconds", "Age of the oldest parked event, 0 without one.", []string{"schema"}, nil)
	stockSKUs       = prometheus.NewDesc("orders_stock_skus", "SKUs by available units: in_stock, low (1 to 10), out.", []string{"class"}, nil)
	unknownPayments = prometheus.NewDesc("orders_payments_unknown", "Payments whose outcome at the gateway is unknown, by what it was asked for: authorize, refund. Counted up to 100,000.", []string{"operation"}, nil)
	oldestUnknown   = prometheus.NewDesc("orders_payments_unknown_oldest_seconds", "Time since the oldest request whose outcome is unknown, 0 without one.", []string{"operation"}, nil)
	stockUnits      = prometheus.NewDesc("orders_stock_units", "Units on stock: available, reserved.", []string{"state"}, nil)
)

const (
	// countLimit bounds the counted rows of an outbox, and the counted payments.
	countLimit = 100_000
	// few is the highest number of units that counts as low stock.
	few = 10
)

const microseconds = 1e-6

func readOutbox(ctx context.Context, db *sql.DB, schema string) ([]prometheus.Metric, error) {
	unsent, err := backlog.Count(ctx, db, schema, countLimit)
	if err != nil {
		return nil, err
	}
	return []prometheus.Metric{
		gauge(outboxRows, float64(unsent.New), schema, "new"),
		gauge(outboxRows, float64(unsent.Waiting), schema, "waiting"),
		gauge(outboxRows, float64(unsent.Parked), schema, "parked"),
		gauge(oldestUnsent, unsent.OldestDue.Seconds(), schema),
		gauge(oldestParked, unsent.OldestParked.Seconds(), schema),
	}, nil
}

func readOrders(ctx context.Context, db *sql.DB) ([]prometheus.Metric, error) {
	q := orders.New(db)
	rows, err := q.TallyStatuses(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the orders: %w", err)
	}
	counts := map[orders.OrdersStatus]int64{
		orders.OrdersStatusPENDING: 0, orders.OrdersStatusCONFIRMED: 0, orders.OrdersStatusFAILED: 0, orders.OrdersStatusCANCELED: 0,
	}
	for _, row := range rows {
		counts[row.Status] = row.Orders
	}
	age, err := q.OldestPending(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the oldest pending order: %w", err)
	}
	values := []prometheus.Metric{gauge(oldestPending, float64(max(0, age))*microseconds)}
	for status, n := range counts {
		values = append(values, gauge(ordersByStatus, float64(n), string(status)))
	}
	return values, nil
}

func readStock(ctx context.Context, db *sql.DB) ([]prometheus.Metric, error) {
	stock, err := inventory.New(db).WatchStock(ctx, few)
	if err != nil {
		return nil, fmt.Errorf("count the stock: %w", err)
	}
	return []prometheus.Metric{
		gauge(stockSKUs, float64(stock.Skus-stock.SoldOut-stock.Low), "in_stock"),
		gauge(stockSKUs, float64(stock.Low), "low"),
		gauge(stockSKUs, float64(stock.SoldOut), "out"),
		gauge(stockUnits, float64(stock.Available), "available"),
		gauge(stockUnits, float64(stock.Reserved), "reserved"),
	}, nil
}

func readPayments(ctx context.Context, db *sql.DB) ([]prometheus.Metric, error) {
	waiting, err := settle.Count(ctx, db, countLimit)
	if err != nil {
		return nil, err
	}
	var values []prometheus.Metric
	for operation, w := range waiting {
		values = append(values, gauge(unknownPayments, float64(w.Requests), operation), gauge(oldestUnknown, w.Oldest.Seconds(), operation))
	}
	return values, nil
}
