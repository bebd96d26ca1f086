package expireorders

import (
	"context"
	"fmt"

	"example.com/orders/events"
	"example.com/orders/sql/orders"
)

// forgetStep bounds the orders of one query, forgetSteps the queries of one tick, and forgetMost about how many orders a tick
// changes.
const (
	forgetStep  = 1000
	forgetSteps = 10
	forgetMost  = 1000
)

// forget walks through the orders that were placed before the retention began, in order of id, and removes from those that
// ended before it, too, who their customers are. The order stays: its lines explain the stock, and its amounts the money. Each
// tick continues where the last one stopped, and starts over at the end.
func (f *Function) forget(ctx context.Context) (count int64, err error) {
	if f.Retention == 0 {
		return 0, nil
	}
	q := orders.New(f.DB)
	cutoff := f.Now().Add(-f.Retention)
	before, after := events.FirstOrderID(cutoff), ""
	if at := f.forgotten.Load(); at != nil {
		after = *at
	}
	for range forgetSteps {
		rows, err := q.ListEndedFrom(ctx, orders.ListEndedFromParams{Forgotten: events.Forgotten, AfterID: after, BeforeID: before, Limit: forgetStep})
		if err != nil {
			return count, fmt.Errorf("list the orders that ended before %s: %w", cutoff.Format("2006-01-02"), err)
		}
		var old []string
		for _, row := range rows {
			if row.Status != orders.OrdersStatusPENDING && row.Known != 0 && row.UpdatedAt.Before(cutoff) {
				old = append(old, row.ID)
			}
		}
		if len(old) > 0 {
			changed, err := q.ForgetOrders(ctx, orders.ForgetOrdersParams{Forgotten: events.Forgotten, Ids: old})
			if err != nil {
				return count, fmt.Errorf("forget the customers of %d orders: %w", len(old), err)
			}
			count += changed
		}
		if len(rows) < forgetStep {
			after = ""
			break
		}
		after = rows[len(rows)-1].ID
		if count >= forgetMost {
			break
		}
	}
	f.forgotten.Store(&after)
	return count, nil
}
