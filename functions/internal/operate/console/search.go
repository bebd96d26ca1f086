package console

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"example.com/orders/events"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/orders"
)

// Bounds of a search. A whole address, a flow and a SKU have an index each. A part of an address and the end of an order id have
// none: a request looks through as many slices of orders, from the newest on, as it can in its time, and says where the next
// one goes on. Its time is short, so that a page shows early what was found, and how far the search has come.
const (
	searchSlice = 2_000
	searchTime  = 40 * time.Millisecond
	mostFound   = 50
	longestTerm = 254 // of an e-mail address
)

// wholeBefore is the beginning of a place among the orders with the whole term; another place is an order id, before which
// parts are looked for.
const wholeBefore = "whole:"

// found is what one request has found, and how far it has come.
type found struct {
	Orders []orderLine `json:"orders"`
	// Next is where the search goes on; empty if all was looked through.
	Next string `json:"next,omitempty"`
	// Whole is set if all orders with the whole term have been found, and Next looks for it as a part.
	Whole bool `json:"whole,omitempty"`
	// Back is the time back to which the orders were looked through.
	Back string `json:"back,omitempty"`
}

// term returns what is searched for; its error is a *rest.Problem.
func term(r *http.Request) (string, error) {
	q := strings.TrimSpace(r.URL.Query().Get("q"))
	if q == "" || len(q) > longestTerm {
		return "", rest.NewProblem(http.StatusBadRequest, fmt.Sprintf("q takes 1 to %d bytes", longestTerm))
	}
	return q, nil
}

// searchOrders answers GET /console/search/orders?q=&before= with orders by the customer's address or the correlation id, and then
// by a part of the customer's address, or the end of the order id, which is what the lists show of it.
func (c *Console) searchOrders(w http.ResponseWriter, r *http.Request) error {
	q, err := term(r)
	if err != nil {
		return err
	}
	before, whole := strings.CutPrefix(cmp.Or(r.URL.Query().Get("before"), wholeBefore+newestID), wholeBefore)
	if before != newestID && !events.ValidOrderID(before) {
		return rest.NewProblem(http.StatusBadRequest, "before takes the next of an earlier answer")
	}
	var answer found
	if whole {
		answer, err = c.findWhole(r.Context(), q, before)
	} else {
		answer, err = c.findParts(r.Context(), q, before, time.Now().Add(searchTime))
	}
	if err != nil {
		return err
	}
	return rest.JSON(w, http.StatusOK, answer)
}

// findWhole finds a page of the orders that have the whole term.
func (c *Console) findWhole(ctx context.Context, term, before string) (found, error) {
	q := orders.New(c.orders)
	byID := map[string]orderLine{}
	add := func(row orders.GetOrderRow) { byID[row.ID] = newOrderLine(row) }
	ofCustomer, err := q.FindOrdersOfCustomer(ctx, orders.FindOrdersOfCustomerParams{CustomerEmail: term, BeforeID: before, Limit: mostFound})
	if err != nil {
		return found{}, fmt.Errorf("search the orders of an address: %w", err)
	}
	for _, row := range ofCustomer {
		add(orders.GetOrderRow(row))
	}
	if isASCII(term) {
		ofFlow, err := q.FindOrdersOfFlow(ctx, orders.FindOrdersOfFlowParams{Flow: term, BeforeID: before, Limit: mostFound})
		if err != nil {
			return found{}, fmt.Errorf("search the orders of a flow: %w", err)
		}
		for _, row := range ofFlow {
			add(orders.GetOrderRow(row))
		}
	}
	answer := found{Orders: slices.SortedFunc(maps.Values(byID), func(a, b orderLine) int { return cmp.Compare(b.OrderID, a.OrderID) })}
	if answer.Orders == nil {
		answer.Orders = []orderLine{}
	}
	if len(answer.Orders) >= mostFound {
		answer.Orders = answer.Orders[:mostFound]
		answer.Next = wholeBefore + answer.Orders[mostFound-1].OrderID
		return answer, nil
	}
	answer.Next, answer.Whole = newestID, true
	return answer, nil
}

// isASCII returns whether a text can be compared to a column of ids or flows, which have no other letters, and refuse it.
func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}

// likePart escapes a text for LIKE.
var likePart = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// findParts finds orders by a part of the customer's address, or the end of the id.
func (c *Console) findParts(ctx context.Context, term, before string, until time.Time) (found, error) {
	q := orders.New(c.orders)
	answer := found{Orders: []orderLine{}}
	part, ending := likePart.Replace(term), ""
	if isASCII(term) {
		ending = "%" + strings.ToLower(part)
	}
	for {
		from, err := q.SkipOrders(ctx, orders.SkipOrdersParams{BeforeID: before, Offset: searchSlice - 1})
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return found{}, fmt.Errorf("search the orders before %s: %w", before, err)
		}
		rows, err := q.FindOrders(ctx, orders.FindOrdersParams{
			FromID: from, BeforeID: before, Customer: "%" + part + "%", Ending: ending, Limit: int32(mostFound - len(answer.Orders)),
		})
		if err != nil {
			return found{}, fmt.Errorf("search the orders before %s: %w", before, err)
		}
		for _, row := range rows {
			answer.Orders = append(answer.Orders, newOrderLine(orders.GetOrderRow(row)))
		}
		switch {
		case len(answer.Orders) == mostFound:
			answer.Next = answer.Orders[mostFound-1].OrderID
		case from == "":
			return answer, nil
		case time.Now().After(until):
			answer.Next = from
		default:
			before = from
			continue
		}
		answer.Back = placedAt(answer.Next)
		return answer, nil
	}
}

// placedAt returns the time in an order id, which is a UUIDv7; empty for another one.
func placedAt(id string) string {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 {
		return ""
	}
	return moment(time.Unix(u.Time().UnixTime()))
}

// searchLines answers GET /console/search/lines?q=&before= with orders by a SKU of theirs.
func (c *Console) searchLines(w http.ResponseWriter, r *http.Request) error {
	sku, err := term(r)
	if err != nil {
		return err
	}
	before, err := strconv.ParseInt(cmp.Or(r.URL.Query().Get("before"), "0"), 10, 64)
	if err != nil || before < 0 {
		return rest.NewProblem(http.StatusBadRequest, "before takes the next of an earlier answer")
	}
	answer := found{Orders: []orderLine{}}
	if events.ValidSKU(sku) {
		if answer, err = c.findLines(r.Context(), sku, cmp.Or(before, math.MaxInt64)); err != nil {
			return err
		}
	}
	return rest.JSON(w, http.StatusOK, answer)
}

// findLines finds the orders of a page of the lines with a SKU.
func (c *Console) findLines(ctx context.Context, sku string, before int64) (found, error) {
	q := orders.New(c.orders)
	answer := found{Orders: []orderLine{}}
	lines, err := q.FindLines(ctx, orders.FindLinesParams{Sku: sku, BeforeID: before, Limit: mostFound})
	if err != nil {
		return found{}, fmt.Errorf("search the lines of orders for %s: %w", sku, err)
	}
	if len(lines) == 0 {
		return answer, nil
	}
	var ids []string
	for _, line := range lines {
		ids = append(ids, line.OrderID)
	}
	if len(lines) == mostFound {
		answer.Next = strconv.FormatInt(lines[mostFound-1].ID, 10)
	}
	slices.Sort(ids)
	rows, err := q.ListOrdersOf(ctx, slices.Compact(ids))
	if err != nil {
		return found{}, fmt.Errorf("read the orders of %s: %w", sku, err)
	}
	for _, row := range rows {
		answer.Orders = append(answer.Orders, newOrderLine(orders.GetOrderRow(row)))
	}
	return answer, nil
}

// link is a page that a search leads to.
type link struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Path string `json:"path"`
	// Only is set if the term can mean nothing else.
	Only bool `json:"only,omitempty"`
}

var (
	eventID   = regexp.MustCompile(`^([0-9A-Fa-f-]{36})(#[0-9]+)?$`)
	letterKey = regexp.MustCompile(`^[A-Za-z0-9._-]+\.dlq/[0-9]+/[0-9]+$`)
	rowKey    = regexp.MustCompile(`^([a-z]+)/[0-9]+$`)
)

// serveLinks answers GET /console/search?q= with the pages of an id: of an order, an event, a SKU, a dead letter, or a row of
// an outbox.
func (c *Console) serveLinks(w http.ResponseWriter, r *http.Request) error {
	q, err := term(r)
	if err != nil {
		return err
	}
	links := []link{}
	if parts := eventID.FindStringSubmatch(q); parts != nil && events.ValidOrderID(strings.ToLower(parts[1])) {
		id := strings.ToLower(parts[1])
		switch _, err := orders.New(c.orders).GetOrder(r.Context(), id); {
		case err == nil:
			links = append(links, link{"order", id, "/orders/" + id, true})
		case !errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("look up order %s: %w", id, err)
		}
	}
	if events.ValidSKU(q) {
		switch level, err := inventory.New(c.inventory).GetStock(r.Context(), q); {
		case err == nil:
			links = append(links, link{"SKU", level.Sku, "/stock?q=" + url.QueryEscape(level.Sku), false})
		case !errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("look up SKU %s: %w", q, err)
		}
	}
	if letterKey.MatchString(q) {
		links = append(links, link{"dead letter", q, "/deadletters?letter=" + url.QueryEscape(q), true})
	}
	if parts := rowKey.FindStringSubmatch(q); parts != nil && slices.Contains(c.o.Wiring.Outboxes(), parts[1]) {
		links = append(links, link{"row of an outbox", q, "/outbox?row=" + url.QueryEscape(q), true})
	}
	return rest.JSON(w, http.StatusOK, links)
}
