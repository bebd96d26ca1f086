package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"example.com/orders/sql/inventory"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// stockPage is the number of SKUs, or of rows of stock_log, in one query.
const stockPage = 5000

// checkStock compares the level of each SKU with both logs.
func (a *auditor) checkStock(ctx context.Context) error {
	conn, err := a.snapshot.use(ctx, schema.Inventory)
	if err != nil {
		return err
	}
	q := inventory.New(conn)
	a.addKnown()
	stocked, err := a.sumStockLog(ctx, q)
	if err != nil {
		return err
	}
	for after := ""; ; {
		rows, err := q.ListStock(ctx, inventory.ListStockParams{AfterSku: after, Limit: stockPage})
		if err != nil {
			return fmt.Errorf("walk through the stock: %w", err)
		}
		for _, row := range rows {
			after = row.Sku
			a.checkLevel(row, stocked)
		}
		if len(rows) < stockPage {
			break
		}
	}
	for _, sku := range slices.Sorted(maps.Keys(stocked)) {
		a.stock.breach("%s is in stock_log with %d units and has no level", sku, stocked[sku])
	}
	for _, sku := range slices.Sorted(maps.Keys(a.logged)) {
		if units := a.logged[sku]; units != 0 { // an unknown SKU is rejected, which the log has with 0 units
			a.reserved.breach("%s is in reservation_log with %d units and has no level", sku, units)
		}
	}
	return nil
}

func (a *auditor) sumStockLog(ctx context.Context, q *inventory.Queries) (map[string]int64, error) {
	stocked := map[string]int64{}
	for after := int64(0); ; {
		rows, err := q.WalkStockLog(ctx, inventory.WalkStockLogParams{ID: after, Limit: stockPage})
		if err != nil {
			return nil, fmt.Errorf("walk through the log of the stock: %w", err)
		}
		for _, row := range rows {
			after = row.ID
			stocked[row.Sku] += row.Delta
		}
		a.stock.count("log rows", len(rows))
		if len(rows) < stockPage {
			return stocked, nil
		}
	}
}

// checkLevel checks the level of one SKU and removes it from both sums: the rest have no level.
func (a *auditor) checkLevel(row inventory.ListStockRow, stocked map[string]int64) {
	a.stock.count("SKUs", 1)
	a.reserved.count("SKUs", 1)
	if row.AvailableQty+row.ReservedQty != stocked[row.Sku] {
		a.stock.breach("%s has %d available and %d reserved, and stock_log has %d", row.Sku, row.AvailableQty, row.ReservedQty, stocked[row.Sku])
	}
	if row.AvailableQty < 0 || row.ReservedQty < 0 {
		a.stock.breach("%s has %d available and %d reserved: below zero", row.Sku, row.AvailableQty, row.ReservedQty)
	}
	if row.ReservedQty != a.logged[row.Sku] {
		a.reserved.breach("%s has %d reserved, and reservation_log has %d", row.Sku, row.ReservedQty, a.logged[row.Sku])
	}
	delete(stocked, row.Sku)
	delete(a.logged, row.Sku)
}

// checkKeys checks that no idempotency key has created more than one order.
func (a *auditor) checkKeys(ctx context.Context) error {
	if a.since() != nil {
		return nil
	}
	conn, err := a.snapshot.use(ctx, schema.Orders)
	if err != nil {
		return err
	}
	twice, err := orders.New(conn).ListKeysUsedTwice(ctx, maxListed)
	if err != nil {
		return fmt.Errorf("list idempotency keys that were used twice: %w", err)
	}
	for _, key := range twice {
		a.once.breach("the idempotency key with the hash %x created %d orders", key.IdempotencyKeyHash, key.OrdersMade)
	}
	return nil
}
