package ordersapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/sql/orders"
)

func get(t testing.TB, f *Function, id string) (o order) {
	t.Helper()
	w := send(t.Context(), f, http.MethodGet, "/api/orders/"+id, "")
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &o))
	return o
}

func TestGetShowsTheOrderAsItWasPlaced(t *testing.T) {
	f := New()
	now := time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, map[string]string{"CURRENCY": "CHF"})
	id := accepted(t, send(t.Context(), f, http.MethodPost, "/api/orders", `{"customerEmail":"alice@example.com","items":[
		{"sku":"B","quantity":1,"unitPrice":500},{"sku":"A","quantity":2,"unitPrice":1299},{"sku":"B","quantity":3,"unitPrice":450}]}`)).OrderID

	w := send(t.Context(), f, http.MethodGet, "/api/orders/"+id, "")

	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.JSONEq(t, `{"orderId":"`+id+`","status":"PENDING","customerEmail":"alice@example.com","items":[
		{"sku":"B","quantity":1,"unitPrice":500},{"sku":"A","quantity":2,"unitPrice":1299},{"sku":"B","quantity":3,"unitPrice":450}],
		"totalAmount":4448,"currency":"CHF","createdAt":"2026-11-25T12:00:00.123456Z","updatedAt":"2026-11-25T12:00:00.123456Z"}`, w.Body.String())
	head := send(t.Context(), f, http.MethodHead, "/api/orders/"+id, "")
	assert.Equal(t, http.StatusOK, head.Code)
}

func TestGetSaysWhyAnOrderFailed(t *testing.T) {
	f := start(t)
	id := place(t, f)
	_, err := f.DB.ExecContext(t.Context(), "UPDATE orders SET status = 'FAILED', failure_reason = 'out_of_stock'")
	require.NoError(t, err)
	o := get(t, f, id)
	assert.Equal(t, events.StatusFailed, o.Status)
	assert.Equal(t, events.ReasonOutOfStock, o.FailureReason)
}

func TestGetDistinguishesUnknownFromMalformed(t *testing.T) {
	f := start(t)
	id := functiontest.OrderID()
	assert.Contains(t, refused(t, http.StatusNotFound, send(t.Context(), f, http.MethodGet, "/api/orders/"+id, "")).Detail, id)
	for _, malformed := range []string{"7", strings.ToUpper(id), "{" + id + "}", id + "0", strings.ReplaceAll(id, "-", ""), "%00", "..%2f", url.PathEscape("' OR 1=1")} {
		refused(t, http.StatusBadRequest, send(t.Context(), f, http.MethodGet, "/api/orders/"+malformed, ""))
		refused(t, http.StatusBadRequest, send(t.Context(), f, http.MethodPost, "/api/orders/"+malformed+"/cancel", ""))
	}
}

type page struct {
	Orders []order
	Next   string
}

func list(t *testing.T, f *Function, path string) (p page) {
	t.Helper()
	w := send(t.Context(), f, http.MethodGet, path, "")
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	return p
}

func idsOf(found []order) []string {
	ids := make([]string, len(found))
	for i, o := range found {
		ids[i] = o.OrderID
	}
	return ids
}

// reversed places n orders and returns their ids, newest first.
func reversed(t *testing.T, f *Function, n int, status orders.OrdersStatus) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[n-1-i] = functiontest.OrderID()
		functiontest.Order(t, f.DB, ids[n-1-i], status)
	}
	return ids
}

func TestListOfNothingIsAnEmptyList(t *testing.T) {
	f := start(t)
	w := send(t.Context(), f, http.MethodGet, "/api/orders", "")
	assert.JSONEq(t, `{"orders":[]}`, w.Body.String())
}

func TestListShowsTheNewestTwentyFirst(t *testing.T) {
	f := start(t)
	ids := reversed(t, f, 21, orders.OrdersStatusPENDING)
	p := list(t, f, "/api/orders")
	assert.Equal(t, ids[:20], idsOf(p.Orders))
	for _, o := range p.Orders {
		assert.Equal(t, []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}}, o.Items)
	}
	last := list(t, f, p.Next)
	assert.Equal(t, ids[20:], idsOf(last.Orders))
	assert.Empty(t, last.Next)
}

func TestListPagesThroughAllWhileNewOrdersArrive(t *testing.T) {
	for name, c := range map[string]struct {
		query   string
		matches []orders.OrdersStatus
	}{
		"all":           {"", []orders.OrdersStatus{orders.OrdersStatusCONFIRMED, orders.OrdersStatusPENDING}},
		"of one status": {"status=CONFIRMED&", []orders.OrdersStatus{orders.OrdersStatusCONFIRMED}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			var newestFirst []string // of the orders that match
			arrive := func(status orders.OrdersStatus) {
				id := functiontest.OrderID()
				functiontest.Order(t, f.DB, id, status)
				if slices.Contains(c.matches, status) {
					newestFirst = slices.Insert(newestFirst, 0, id)
				}
			}
			for range 5 {
				arrive(orders.OrdersStatusCONFIRMED)
				arrive(orders.OrdersStatusPENDING)
			}
			for _, limit := range []int{1, 3, 5, 10, 100} {
				want := slices.Clone(newestFirst)
				var walked []string
				for next := "/api/orders?" + c.query + "limit=" + strconv.Itoa(limit); next != ""; {
					p := list(t, f, next)
					require.NotEmpty(t, p.Orders, "a page was promised")
					require.LessOrEqual(t, len(p.Orders), limit)
					walked = append(walked, idsOf(p.Orders)...)
					require.LessOrEqual(t, len(walked), len(want))
					next = p.Next
					arrive(orders.OrdersStatusCONFIRMED)
				}
				assert.Equal(t, want, walked, "by %d", limit)
			}
		})
	}
}

func TestListFiltersByStatus(t *testing.T) {
	f := start(t)
	want := map[orders.OrdersStatus][]string{}
	for _, status := range []orders.OrdersStatus{orders.OrdersStatusPENDING, orders.OrdersStatusCONFIRMED, orders.OrdersStatusFAILED, orders.OrdersStatusCANCELED} {
		want[status] = reversed(t, f, 2, status)
	}
	for status, ids := range want {
		p := list(t, f, "/api/orders?status="+string(status))
		assert.Equal(t, ids, idsOf(p.Orders))
		assert.Equal(t, string(status), p.Orders[0].Status)
		p = list(t, f, "/api/orders?limit=100&after="+ids[0]+"&status="+string(status))
		assert.Equal(t, ids[1:], idsOf(p.Orders))
	}
}

func TestListRefusesWhatItDoesNotKnow(t *testing.T) {
	f := start(t)
	id := functiontest.OrderID()
	for name, query := range map[string]string{
		"unknown status":        "status=LOST",
		"status in lower case":  "status=pending",
		"no status":             "status=",
		"limit of none":         "limit=0",
		"limit too high":        "limit=101",
		"negative limit":        "limit=-1",
		"limit beyond int64":    "limit=9223372036854775808",
		"limit that is none":    "limit=many",
		"no limit":              "limit=",
		"after that is no id":   "after=7",
		"after in capitals":     "after=" + strings.ToUpper("0190a6b0-0000-7000-8000-00000000000a"),
		"unknown parameter":     "page=2",
		"two of one":            "status=PENDING&status=FAILED",
		"the same twice":        "after=" + id + "&after=" + id,
		"what is no query":      "limit=%zz",
		"a semicolon":           "limit=1;status=PENDING",
		"good beside one wrong": "status=PENDING&limit=5&offset=3",
	} {
		t.Run(name, func(t *testing.T) {
			p := refused(t, http.StatusBadRequest, send(t.Context(), f, http.MethodGet, "/api/orders?"+query, ""))
			assert.Contains(t, p.Detail, "limit (1 to 100)")
		})
	}
}
