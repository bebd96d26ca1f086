package console

import (
	"context"
	"fmt"
	"math"

	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/orders"
)

// listed is the number of orders in a live list; older ones come from the REST API, by page.
const listed = 50

// orderLine is an order in a list.
type orderLine struct {
	OrderID       string `json:"orderId"`
	Status        string `json:"status"`
	CustomerEmail string `json:"customerEmail"`
	TotalAmount   int64  `json:"totalAmount"`
	Currency      string `json:"currency"`
	FailureReason string `json:"failureReason,omitempty"`
	CreatedAt     string `json:"createdAt"`
	UpdatedAt     string `json:"updatedAt"`
}

func newOrderLine(row orders.GetOrderRow) orderLine {
	line := orderLine{
		OrderID: row.ID, Status: string(row.Status), CustomerEmail: row.CustomerEmail, TotalAmount: row.TotalAmount,
		Currency: row.Currency, CreatedAt: moment(row.CreatedAt), UpdatedAt: moment(row.UpdatedAt),
	}
	if row.FailureReason != nil {
		line.FailureReason = *row.FailureReason
	}
	return line
}

// newestID is above every order id.
const newestID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

// readOrders reads the newest orders, of one status unless it is empty, with one query.
func (c *Console) readOrders(ctx context.Context, status orders.OrdersStatus) (any, error) {
	q := orders.New(c.orders)
	found := []orderLine{}
	if status == "" {
		rows, err := q.ListOrders(ctx, orders.ListOrdersParams{BeforeID: newestID, Limit: listed})
		if err != nil {
			return nil, fmt.Errorf("list orders: %w", err)
		}
		for _, row := range rows {
			found = append(found, newOrderLine(orders.GetOrderRow(row)))
		}
		return found, nil
	}
	rows, err := q.ListOrdersByStatus(ctx, orders.ListOrdersByStatusParams{Status: status, BeforeID: newestID, Limit: listed})
	if err != nil {
		return nil, fmt.Errorf("list %s orders: %w", status, err)
	}
	for _, row := range rows {
		found = append(found, newOrderLine(orders.GetOrderRow(row)))
	}
	return found, nil
}

// readCounts counts the orders of each status. It scans a whole index; the hub limits how often.
func (c *Console) readCounts(ctx context.Context) (any, error) {
	rows, err := orders.New(c.orders).TallyStatuses(ctx)
	if err != nil {
		return nil, fmt.Errorf("count orders: %w", err)
	}
	counts := map[string]int64{}
	for _, status := range statuses {
		counts[status] = 0
	}
	for _, row := range rows {
		counts[string(row.Status)] = row.Orders
	}
	return counts, nil
}

// maxLevels is the number of SKUs on a page of the stock.
const maxLevels = 100

// level is the stock of a SKU.
type level struct {
	SKU          string `json:"sku"`
	AvailableQty int64  `json:"availableQty"`
	ReservedQty  int64  `json:"reservedQty"`
}

// lowestOfSKU and aboveSKU are the lowest character of a SKU, and one above all of them.
const (
	lowestOfSKU = "-"
	aboveSKU    = "~"
)

// readStock reads a page of the levels of the SKUs that begin with a text, after a SKU, and whether there are more.
func (c *Console) readStock(ctx context.Context, prefix, after string) (any, error) {
	from := prefix
	if after != "" {
		from = after + lowestOfSKU // the next possible one
	}
	rows, err := inventory.New(c.inventory).ListStockBetween(ctx, inventory.ListStockBetweenParams{
		FromSku: from, ToSku: prefix + aboveSKU, Limit: maxLevels + 1,
	})
	if err != nil {
		return nil, fmt.Errorf("list the stock: %w", err)
	}
	answer := struct {
		Levels []level `json:"levels"`
		More   bool    `json:"more"`
	}{Levels: []level{}, More: len(rows) > maxLevels}
	for _, row := range rows[:min(len(rows), maxLevels)] {
		answer.Levels = append(answer.Levels, level{row.Sku, row.AvailableQty, row.ReservedQty})
	}
	return answer, nil
}

// readAudit returns the last report, with its duration in milliseconds; nil before the first one.
func (c *Console) readAudit(context.Context) (any, error) {
	report := c.o.Audit()
	if report == nil {
		return nil, nil //nolint:nilnil // there is none yet
	}
	var since string
	if report.Since != nil {
		since = moment(*report.Since)
	}
	return struct {
		At         string             `json:"at"`
		Since      string             `json:"since,omitempty"` // only what has changed since then was audited
		TookMillis float64            `json:"tookMillis"`
		Breaches   int                `json:"breaches"`
		Invariants []*audit.Invariant `json:"invariants"`
		Exceptions []audit.Exception  `json:"exceptions"`
	}{
		moment(report.At), since, math.Round(report.Took.Seconds()*1e4) / 10, report.Breaches(), report.Invariants,
		append([]audit.Exception{}, report.Exceptions...),
	}, nil
}
