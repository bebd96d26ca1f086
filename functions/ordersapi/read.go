package ordersapi

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/orders"
)

// order is an order as customers see it.
type order struct {
	OrderID       string        `json:"orderId"`
	Status        string        `json:"status"`
	CustomerEmail string        `json:"customerEmail"`
	Items         []events.Item `json:"items"`
	TotalAmount   int64         `json:"totalAmount"`
	Currency      string        `json:"currency"`
	FailureReason string        `json:"failureReason,omitempty"`
	CreatedAt     time.Time     `json:"createdAt"`
	UpdatedAt     time.Time     `json:"updatedAt"`
}

func newOrder(row orders.GetOrderRow) order {
	o := order{
		OrderID: row.ID, Status: string(row.Status), CustomerEmail: row.CustomerEmail, TotalAmount: row.TotalAmount,
		Currency: row.Currency, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
	if row.FailureReason != nil {
		o.FailureReason = *row.FailureReason
	}
	return o
}

// get answers GET /api/orders/{id}.
func (f *Function) get(w http.ResponseWriter, r *http.Request) error {
	id, err := orderID(r)
	if err != nil {
		return err
	}
	if err := saga.CheckOwner(r.Context(), f.DB, id); errors.Is(err, saga.ErrUnknownOrder) {
		return unknown(id)
	} else if err != nil {
		return err
	}
	row, err := orders.New(f.DB).GetOrder(r.Context(), id)
	if errors.Is(err, sql.ErrNoRows) {
		return unknown(id)
	}
	if err != nil {
		return fmt.Errorf("read order %s: %w", id, err)
	}
	found := []order{newOrder(row)}
	if err := f.addItems(r.Context(), found); err != nil {
		return err
	}
	return rest.JSON(w, http.StatusOK, found[0])
}

// newestID is above every order id.
const newestID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

// list answers GET /api/orders?status=&limit=&after=, newest first: to operators with the orders of all, to customers with
// their own. after is the id of the last order on the previous page;
// next is the path of the next page, absent on the last one.
func (f *Function) list(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badList()
	}
	status, after, limit, err := parseList(query)
	if err != nil {
		return err
	}
	// One more than requested shows whether there is another page.
	found, err := f.page(r.Context(), status, after, limit+1)
	if err != nil {
		return err
	}
	var answer struct {
		Orders []order `json:"orders"`
		Next   string  `json:"next,omitempty"`
	}
	answer.Orders = found
	if len(found) > limit {
		answer.Orders = found[:limit]
		query.Set("after", found[limit-1].OrderID)
		answer.Next = "/api/orders?" + query.Encode()
	}
	if err := f.addItems(r.Context(), answer.Orders); err != nil {
		return err
	}
	return rest.JSON(w, http.StatusOK, answer)
}

func parseList(query url.Values) (status orders.OrdersStatus, after string, limit int, err error) {
	after, limit = newestID, 20
	for name, values := range query {
		value := values[0]
		ok := false
		switch name {
		case "status":
			status = orders.OrdersStatus(value)
			switch status {
			case orders.OrdersStatusPENDING, orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED:
				ok = true
			}
		case "after":
			after = value
			ok = events.ValidOrderID(after)
		case "limit":
			limit, err = strconv.Atoi(value)
			ok = err == nil && limit >= 1 && limit <= 100
		}
		if !ok || len(values) > 1 {
			return "", "", 0, badList()
		}
	}
	return status, after, limit, nil
}

func badList() *rest.Problem {
	return rest.NewProblem(http.StatusBadRequest,
		"the parameters are status (PENDING, CONFIRMED, FAILED or CANCELED), limit (1 to 100) and after (an order id), each at most once")
}

func (f *Function) page(ctx context.Context, status orders.OrdersStatus, after string, limit int) ([]order, error) {
	q := orders.New(f.DB)
	found := []order{}
	if p := identity.From(ctx); !p.Operator && !p.Open {
		return f.owned(ctx, p.Owner(), status, after, limit)
	}
	if status == "" {
		rows, err := q.ListOrders(ctx, orders.ListOrdersParams{BeforeID: after, Limit: int32(limit)})
		if err != nil {
			return nil, fmt.Errorf("list orders: %w", err)
		}
		for _, row := range rows {
			found = append(found, newOrder(orders.GetOrderRow(row)))
		}
		return found, nil
	}
	rows, err := q.ListOrdersByStatus(ctx, orders.ListOrdersByStatusParams{Status: status, BeforeID: after, Limit: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list %s orders: %w", status, err)
	}
	for _, row := range rows {
		found = append(found, newOrder(orders.GetOrderRow(row)))
	}
	return found, nil
}

// owned is page for the orders of an owner.
func (f *Function) owned(ctx context.Context, owner string, status orders.OrdersStatus, after string, limit int) ([]order, error) {
	q := orders.New(f.DB)
	found := []order{}
	if status == "" {
		rows, err := q.ListOwnedOrders(ctx, orders.ListOwnedOrdersParams{Owner: &owner, BeforeID: after, Limit: int32(limit)})
		if err != nil {
			return nil, fmt.Errorf("list the orders of an owner: %w", err)
		}
		for _, row := range rows {
			found = append(found, newOrder(orders.GetOrderRow(row)))
		}
		return found, nil
	}
	rows, err := q.ListOwnedOrdersByStatus(ctx, orders.ListOwnedOrdersByStatusParams{Owner: &owner, Status: status, BeforeID: after, Limit: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list the %s orders of an owner: %w", status, err)
	}
	for _, row := range rows {
		found = append(found, newOrder(orders.GetOrderRow(row)))
	}
	return found, nil
}

// addItems reads the lines of all orders of a page with one query.
func (f *Function) addItems(ctx context.Context, page []order) error {
	if len(page) == 0 {
		return nil
	}
	ids := make([]string, len(page))
	place := make(map[string]int, len(page))
	for i, o := range page {
		ids[i] = o.OrderID
		place[o.OrderID] = i
	}
	rows, err := orders.New(f.DB).ListItems(ctx, ids)
	if err != nil {
		return fmt.Errorf("read the lines of %d orders: %w", len(ids), err)
	}
	for _, row := range rows {
		o := &page[place[row.OrderID]]
		o.Items = append(o.Items, events.Item{SKU: row.Sku, Quantity: row.Quantity, UnitPrice: row.UnitPrice})
	}
	return nil
}
