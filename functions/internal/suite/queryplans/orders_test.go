package queryplans_test

import "example.com/orders/sql/orders"

var (
	newOrder = orders.InsertOrderParams{
		ID: order(absent), CustomerEmail: "alice@example.com", Status: orders.OrdersStatusPENDING, TotalAmount: 1, Currency: "EUR",
		Version: 1, IdempotencyKeyHash: key(absent), RequestHash: key(absent), CorrelationID: "flow", CreatedAt: now, UpdatedAt: now,
	}
	line = orders.InsertItemParams{OrderID: order(done), Sku: unit(1), UnitPrice: 1, Quantity: 1}
)

var orderCalls = calls{
	"FindLines":          {orders.FindLinesParams{FromID: fresh, BeforeID: fresh + page, Sku: unit(done), Limit: page}},
	"FindOrders":         {orders.FindOrdersParams{FromID: order(fresh), BeforeID: order(fresh + page), Customer: "%alice%", Flow: "alice", Ending: "%alice", Limit: page}},
	"GetFlow":            {order(done)},
	"GetOrder":           {order(done)},
	"GetOrderByKey":      {key(done)},
	"InsertItem":         {line},
	"InsertItems":        {[]orders.InsertItemParams{line, line}},
	"InsertOrder":        {newOrder},
	"InsertOrders":       {[]orders.InsertOrderParams{newOrder}},
	"LastLine":           {},
	"ListItems":          {[]string{order(fresh), order(done)}},
	"ListItemsBetween":   {orders.ListItemsBetweenParams{AfterID: order(fresh), LastID: order(fresh + page)}},
	"ListKeysUsedTwice":  {int32(page)},
	"ListOrders":         {orders.ListOrdersParams{BeforeID: order(fresh), Limit: page}},
	"ListOrdersOf":       {[]string{order(fresh), order(done)}},
	"ListOrdersByStatus": {orders.ListOrdersByStatusParams{Status: orders.OrdersStatusPENDING, BeforeID: order(fresh), Limit: page}},
	"ListPendingBefore":  {orders.ListPendingBeforeParams{ID: order(last), Limit: page}},
	"LockOrders":         {[]string{order(fresh), order(done)}},
	"OldestPending":      {},
	"SetStatuses":        {orders.SetStatusesParams{Status: orders.OrdersStatusFAILED, UpdatedAt: now, Ids: []string{order(fresh), order(done)}}},
	"SkipOrders":         {orders.SkipOrdersParams{BeforeID: order(fresh), Offset: page}},
	"TallyStatuses":      {},
	"WalkOrders":         {orders.WalkOrdersParams{AfterID: order(fresh), Limit: page}},
}
