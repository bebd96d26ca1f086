package console

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
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

// Bounds of a search. It reads the tables from the newest row on, since they have no index for it; a request looks through so
// many slices as it can in its time, and says where the next one goes on.
const (
	searchSlice = 20_000
	searchTime  = time.Second
	mostFound   = 50
	longestTerm = 254 // of an e-mail address
)

// found is what one request has found, and how far it has come.
type found struct {
	Orders []orderLine `json:"orders"`
	// Next is where the search goes on; empty if all was looked through.
	Next string `json:"next,omitempty"`
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

// searchOrders answers GET /console/search/orders?q=&before= with orders by a part of the customer's address, by the
// correlation id, or by the end of the order id, which is what the lists show of it.
func (c *Console) searchOrders(w http.ResponseWriter, r *http.Request) error {
	q, err := term(r)
	if err != nil {
		return err
	}
	before := cmp.Or(r.URL.Query().Get("before"), newestID)
	if before != newestID && !events.ValidOrderID(before) {
		return rest.NewProblem(http.StatusBadRequest, "before takes the next of an earlier answer")
	}
	answer, err := c.findOrders(r.Context(), q, before, time.Now().Add(searchTime))
	if err != nil {
		return err
	}
	return rest.JSON(w, http.StatusOK, answer)
}

// likePart escapes a text for LIKE.
var likePart = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

func (c *Console) findOrders(ctx context.Context, term, before string, until time.Time) (found, error) {
	q := orders.New(c.orders)
	answer := found{Orders: []orderLine{}}
	part := likePart.Replace(term)
	flow, ending := "", ""
	if strings.IndexFunc(term, func(r rune) bool { return r > unicode.MaxASCII }) < 0 { // the columns have no others, and refuse to be compared to them
		flow, ending = term, "%"+strings.ToLower(part)
	}
	for {
		from, err := q.SkipOrders(ctx, orders.SkipOrdersParams{BeforeID: before, Offset: searchSlice - 1})
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return found{}, fmt.Errorf("search the orders before %s: %w", before, err)
		}
		rows, err := q.FindOrders(ctx, orders.FindOrdersParams{
			FromID: from, BeforeID: before, Customer: "%" + part + "%", Flow: flow, Ending: ending,
			Limit: int32(mostFound - len(answer.Orders)),
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
		if answer, err = c.findLines(r.Context(), sku, before, time.Now().Add(searchTime)); err != nil {
			return err
		}
	}
	return rest.JSON(w, http.StatusOK, answer)
}

// findLines begins with the newest line if before is 0.
func (c *Console) findLines(ctx context.Context, sku string, before int64, until time.Time) (found, error) {
	q := orders.New(c.orders)
	if before == 0 {
		last, err := q.LastLine(ctx)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return found{}, fmt.Errorf("search the lines of orders: %w", err)
		}
		before = last + 1
	}
	var ids []string
	next := ""
	for {
		from := max(1, before-searchSlice)
		lines, err := q.FindLines(ctx, orders.FindLinesParams{FromID: from, BeforeID: before, Sku: sku, Limit: int32(mostFound - len(ids))})
		if err != nil {
			return found{}, fmt.Errorf("search the lines of orders for %s: %w", sku, err)
		}
		for _, line := range lines {
			ids, before = append(ids, line.OrderID), line.ID
		}
		if len(ids) == mostFound {
			next = strconv.FormatInt(before, 10)
			break
		}
		if before = from; from == 1 {
			break
		}
		if time.Now().After(until) {
			next = strconv.FormatInt(from, 10)
			break
		}
	}
	answer := found{Orders: []orderLine{}, Next: next}
	if len(ids) == 0 {
		return answer, nil
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
