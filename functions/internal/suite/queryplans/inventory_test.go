package queryplans_test

import "example.com/orders/sql/inventory"

var (
	level   = inventory.SetLevelParams{Sku: unit(1), AvailableQty: 1, ReservedQty: 1, Version: 2, UpdatedAt: now}
	reserve = inventory.OpenReservationParams{OrderID: order(absent), CreatedAt: now, UpdatedAt: now}
	logged  = inventory.InsertReservationLogParams{
		Source: "/orders", EventID: order(absent) + "#1", Sku: unit(1), OrderID: order(absent), DeltaReserved: 1,
		Status: inventory.ReservationLogStatusRESERVED, CreatedAt: now,
	}
)

var inventoryCalls = calls{
	"AdjustStock":           {inventory.AdjustStockParams{Delta: 1, UpdatedAt: now, Sku: unit(1)}},
	"DeleteReservationLog":  {order(done)},
	"EnsureStock":           {inventory.EnsureStockParams{Sku: unit(absent), UpdatedAt: now}},
	"GetReservation":        {order(done)},
	"GetReservationVersion": {order(done)},
	"GetStock":              {unit(1)},
	"GetStockLogByKey":      {key(1)},
	"InsertReservation":     {inventory.InsertReservationParams{OrderID: order(absent), Status: inventory.ReservationsStatusRESERVED, CreatedAt: now, UpdatedAt: now}},
	"InsertReservationLog":  {logged},
	"InsertReservationLogs": {[]inventory.InsertReservationLogParams{logged}},
	"InsertStockLog": {inventory.InsertStockLogParams{
		Sku: unit(1), Delta: 1, Reason: "delivery", IdempotencyKeyHash: key(absent), RequestHash: key(absent), CorrelationID: "flow", CreatedAt: now,
	}},
	"ListHeld":                  {order(done)},
	"ListReservationLogBetween": {inventory.ListReservationLogBetweenParams{AfterID: order(fresh), LastID: order(fresh + page)}},
	"ListReservationLogOf":      {[]string{order(fresh), order(done)}},
	"ListReservations":          {inventory.ListReservationsParams{AfterOrderID: order(fresh), Limit: page}},
	"ListReservationsBetween":   {inventory.ListReservationsBetweenParams{AfterID: order(fresh), LastID: order(fresh + page)}},
	"ListReservationsOf":        {[]string{order(fresh), order(done)}},
	"ListStock":                 {inventory.ListStockParams{AfterSku: unit(fresh), Limit: page}},
	"ListStockBetween":          {inventory.ListStockBetweenParams{FromSku: unit(fresh), ToSku: unit(last), Limit: page}},
	"LockReservation":           {order(done)},
	"LockReservations":          {[]string{order(fresh), order(done)}},
	"LockReservationsAndStocks": {[]string{order(fresh), order(done)}, []string{unit(1), unit(2)}},
	"LockStock":                 {unit(1)},
	"LockStocks":                {[]string{unit(1), unit(2)}},
	"OpenReservation":           {reserve},
	"OpenReservations":          {[]inventory.OpenReservationParams{reserve}},
	"ReturnStock":               {inventory.ReturnStockParams{Quantity: 1, UpdatedAt: now, Sku: unit(1)}},
	"SetFirstReservations": {inventory.SetFirstReservationsParams{
		Status: inventory.ReservationsStatusREJECTED, UpdatedAt: now, OrderIds: []string{order(fresh), order(done)},
	}},
	"SetLevel":       {level},
	"SetLevels":      {[]inventory.SetLevelParams{level}},
	"SetReservation": {inventory.SetReservationParams{Status: inventory.ReservationsStatusRELEASED, Version: 2, UpdatedAt: now, OrderID: order(done)}},
	"TakeStock":      {inventory.TakeStockParams{Skus: []string{unit(1), unit(2)}, Quantities: []string{"1", "2"}, UpdatedAt: now}},
	"WalkStockLog":   {inventory.WalkStockLogParams{ID: fresh, Limit: page}},
	"WatchStock":     {int64(10)},
}
