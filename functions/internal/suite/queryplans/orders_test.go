package queryplans_test

import "example.com/orders/sql/orders"

var (
	newOrder = orders.InsertOrderParams{
		ID: order(absent), CustomerEmail: "alice@example.com", Status: orders.OrdersStatusPENDING, TotalAmount: 1, Currency: "EUR",
		Version: 1, IdempotencyKeyHash: key(absent), RequestHash: key(absent), CorrelationID: "flow", CreatedAt: now, UpdatedAt: now,
	}
	owner = "https://login.example.com alice"
	cost  = orders.SetPriceParams{Sku: unit(absent), UnitPrice: 1, Currency: "EUR", UpdatedAt: now}
	line  = orders.InsertItemParams{OrderID: order(done), Sku: unit(1), UnitPrice: 1, Quantity: 1}
	open  = []orders.InsertOpenOrderParams{{Customer: key(done), OrderID: order(done)}, {Customer: key(fresh), OrderID: order(fresh)}}
)

var orderCalls = calls{
	"DeleteOpenOrders":     {orders.DeleteOpenOrdersParams{Customers: [][]byte{key(done), key(fresh)}, OrderIds: []string{order(done), order(fresh)}}},
	"FindLines":            {orders.FindLinesParams{Sku: unit(done), BeforeID: last + 1, Limit: page}},
	"FindOrders":           {orders.FindOrdersParams{FromID: order(fresh), BeforeID: order(fresh + page), Customer: "%alice%", Ending: "%alice", Limit: page}},
	"FindOrdersOfCustomer": {orders.FindOrdersOfCustomerParams{CustomerEmail: "Alice@example.com", BeforeID: order(done), Limit: page}},
	"FindOrdersOfFlow":     {orders.FindOrdersOfFlowParams{Flow: "flow", BeforeID: order(done), Limit: page}},
	"ForgetOrders":         {orders.ForgetOrdersParams{Forgotten: "forgotten@customer.invalid", Ids: []string{order(fresh), order(done)}}},
	"ForgetOpenOrders":     {key(done)},
	"GetFlow":              {order(done)},
	"GetOrder":             {order(done)},
	"GetOrderByKey":        {key(done)},
	"GetOrderVersion":      {order(done)},
	"GetOwner":             {order(done)},
	"GetPrice":             {unit(done)},
	"InsertItem":           {line},
	"InsertItems":          {[]orders.InsertItemParams{line, line}},
	"InsertOpenOrder":      {open[0]},
	"InsertOpenOrders":     {open},
	"InsertOrder":          {newOrder},
	"InsertOrders":         {[]orders.InsertOrderParams{newOrder}},
	"InsertPrice":          {orders.InsertPriceParams(cost)},
	"InsertPriceLog":       {orders.InsertPriceLogParams{Sku: cost.Sku, UnitPrice: cost.UnitPrice, Currency: cost.Currency, Actor: "anonymous", CorrelationID: "plans", CreatedAt: now}},
	"ListEndedFrom":        {orders.ListEndedFromParams{Forgotten: "forgotten@customer.invalid", AfterID: order(done), BeforeID: order(fresh + page), Limit: page}},
	"ListItems":            {[]string{order(fresh), order(done)}},
	"ListItemsBetween":     {orders.ListItemsBetweenParams{AfterID: order(fresh), LastID: order(fresh + page)}},
	"ListKeysUsedTwice":    {int32(page)},
	"ListOpenOrders":       {[][]byte{key(done), key(fresh)}},
	"ListOrders":           {orders.ListOrdersParams{BeforeID: order(fresh), Limit: page}},
	"ListOrdersOf":         {[]string{order(fresh), order(done)}},
	"ListOrdersByStatus":   {orders.ListOrdersByStatusParams{Status: orders.OrdersStatusPENDING, BeforeID: order(fresh), Limit: page}},
	"ListOwnedOrders":      {orders.ListOwnedOrdersParams{Owner: &owner, BeforeID: order(done), Limit: page}},
	"ListOrdersByKeys":     {[][]byte{key(done), key(fresh)}},
	"ListOwnedOrdersByStatus": {orders.ListOwnedOrdersByStatusParams{
		Owner: &owner, Status: orders.OrdersStatusFAILED, BeforeID: order(last), Limit: page,
	}},
	"ListPricesOf":      {[]string{unit(1), unit(2)}},
	"ListPrices":        {orders.ListPricesParams{AfterSku: unit(fresh), Limit: page}},
	"ListPendingBefore": {orders.ListPendingBeforeParams{ID: order(last), Limit: page}},
	"ListPendingFrom":   {orders.ListPendingFromParams{FromID: order(fresh), Limit: page}},
	"LockOrders":        {[]string{order(fresh), order(done)}},
	"OldestPending":     {},
	"SetPrice":          {cost},
	"SetStatusFrom":     {orders.SetStatusFromParams{Status: orders.OrdersStatusFAILED, UpdatedAt: now, ID: order(fresh), Version: 1}},
	"SetStatuses":       {orders.SetStatusesParams{Status: orders.OrdersStatusFAILED, UpdatedAt: now, Ids: []string{order(fresh), order(done)}}},
	"SkipOrders":        {orders.SkipOrdersParams{BeforeID: order(fresh), Offset: page}},
	"TallyStatuses":     {},
	"WalkOrders":        {orders.WalkOrdersParams{AfterID: order(fresh), Limit: page}},
	"WalkOrdersOf":      {[]string{order(fresh), order(done)}},
	"LockAllCustomers":  {[]uint16{1, 2}},
	"LockCustomers":     {uint16(1)},
}
