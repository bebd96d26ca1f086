package ordersapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/orders"
)

// shop is an API whose customers log in, and SKU-123 costs 1299.
type shop struct {
	*Function
	t        *testing.T
	provider *identitytest.Provider
	alice    string // tokens
	bob      string
	olga     string // an operator
}

func newShop(t *testing.T) shop {
	t.Helper()
	p := identitytest.Start(t)
	s := shop{functiontest.Start(t, New(), p.Config()), t, p, p.Customer("alice"), p.Customer("bob"), p.Operator("olga")}
	require.Equal(t, http.StatusCreated, s.ask(s.olga, http.MethodPut, "/api/prices/SKU-123", `{"unitPrice":1299,"currency":"EUR"}`).Code)
	return s
}

// ask sends a request with a token, or without one if it is empty.
func (s shop) ask(token, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	if token != "" {
		headers = append(headers, "Authorization", "Bearer "+token)
	}
	return send(s.t.Context(), s.Function, method, path, body, headers...)
}

// place places an order of a customer and returns its id.
func (s shop) place(token, name string) string {
	s.t.Helper()
	return accepted(s.t, s.ask(token, http.MethodPost, "/api/orders", fmt.Sprintf(`{"customerEmail":"%s@example.com","items":[{"sku":"SKU-123","quantity":2}]}`, name))).OrderID
}

// list returns the ids of all orders on the pages of a list.
func (s shop) list(token, path string) (ids []string) {
	s.t.Helper()
	for path != "" {
		w := s.ask(token, http.MethodGet, path, "")
		require.Equal(s.t, http.StatusOK, w.Code, w.Body.String())
		var page struct {
			Orders []struct{ OrderID string }
			Next   string
		}
		require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &page))
		for _, o := range page.Orders {
			ids = append(ids, o.OrderID)
		}
		path = page.Next
	}
	return ids
}

func TestCustomersListTheirOwnOrders(t *testing.T) {
	s := newShop(t)
	old := functiontest.OrderID()
	functiontest.Order(t, s.DB, old, orders.OrdersStatusCONFIRMED) // from before there was a log-in
	first, other, second := s.place(s.alice, "alice"), s.place(s.bob, "bob"), s.place(s.alice, "alice")
	require.Equal(t, http.StatusOK, s.ask(s.alice, http.MethodPost, "/api/orders/"+first+"/cancel", "").Code)

	assert.Equal(t, []string{second, first}, s.list(s.alice, "/api/orders?limit=1"))
	assert.Equal(t, []string{second}, s.list(s.alice, "/api/orders?status=PENDING"))
	assert.Equal(t, []string{first}, s.list(s.alice, "/api/orders?status=CANCELED&limit=1"))
	assert.Equal(t, []string{other}, s.list(s.bob, "/api/orders"))
	assert.Empty(t, s.list(s.bob, "/api/orders?after="+first), "a place in the list of somebody else")
	assert.Empty(t, s.list(s.provider.Customer("carol"), "/api/orders"))
	assert.Equal(t, []string{second, other, first, old}, s.list(s.olga, "/api/orders?limit=3"))
	assert.Equal(t, []string{old}, s.list(s.olga, "/api/orders?status=CONFIRMED"))
	refused(t, http.StatusUnauthorized, s.ask("", http.MethodGet, "/api/orders", ""))
}

// TestAnotherCustomersOrderIsAnsweredLikeNone compares the whole answers, but for the id.
func TestAnotherCustomersOrderIsAnsweredLikeNone(t *testing.T) {
	s := newShop(t)
	old, missing := functiontest.OrderID(), functiontest.OrderID()
	functiontest.Order(t, s.DB, old, orders.OrdersStatusPENDING)
	failed := functiontest.OrderID()
	functiontest.Order(t, s.DB, failed, orders.OrdersStatusFAILED)
	alices := s.place(s.alice, "alice")
	for _, c := range []struct{ method, path string }{{http.MethodGet, "/api/orders/%s"}, {http.MethodPost, "/api/orders/%s/cancel"}} {
		ask := func(token, id string) (int, string, http.Header) {
			w := s.ask(token, c.method, fmt.Sprintf(c.path, id), "", "X-Correlation-ID", "flow-1")
			return w.Code, strings.ReplaceAll(w.Body.String(), id, "ID"), w.Header()
		}
		status, text, header := ask(s.bob, missing)
		require.Equal(t, http.StatusNotFound, status)
		for name, id := range map[string]string{"alice's": alices, "of nobody": old, "a failed one": failed} {
			gotStatus, gotText, gotHeader := ask(s.bob, id)
			assert.Equal(t, status, gotStatus, name)
			assert.Equal(t, text, gotText, name)
			assert.Equal(t, header, gotHeader, name)
		}
		status, _, _ = ask("", alices)
		assert.Equal(t, http.StatusUnauthorized, status)
		status, _, _ = ask(s.olga, missing)
		assert.Equal(t, http.StatusNotFound, status)
	}
	assert.Equal(t, 1, mysqltest.Count(t, s.DB, "SELECT COUNT(*) FROM orders WHERE id = ? AND status = 'PENDING'", alices))
	for _, token := range []string{s.alice, s.olga} {
		assert.Equal(t, http.StatusOK, s.ask(token, http.MethodGet, "/api/orders/"+alices, "").Code)
		assert.Equal(t, http.StatusOK, s.ask(token, http.MethodPost, "/api/orders/"+alices+"/cancel", "").Code)
	}
	assert.Equal(t, http.StatusOK, s.ask(s.olga, http.MethodPost, "/api/orders/"+old+"/cancel", "").Code)
}

func TestAnIdempotencyKeyBelongsToItsCustomer(t *testing.T) {
	s := newShop(t)
	post := func(token, name string) *httptest.ResponseRecorder {
		return s.ask(token, http.MethodPost, "/api/orders", fmt.Sprintf(`{"customerEmail":"%s@example.com","items":[{"sku":"SKU-123","quantity":1}]}`, name), "Idempotency-Key", "k")
	}
	first := accepted(t, post(s.alice, "alice")).OrderID
	assert.NotEqual(t, first, accepted(t, post(s.bob, "bob")).OrderID)
	assert.Equal(t, first, accepted(t, post(s.alice, "alice")).OrderID)
}

func TestPricesAreSetByOperatorsAndReadByCustomers(t *testing.T) {
	s := newShop(t)
	const path, text = "/api/prices/SKU-456", `{"unitPrice":4500,"currency":"EUR"}`
	for token, status := range map[string]int{"": http.StatusUnauthorized, s.alice: http.StatusForbidden} {
		refused(t, status, s.ask(token, http.MethodPut, path, text))
	}
	refused(t, http.StatusNotFound, s.ask(s.alice, http.MethodGet, path, ""))
	w := s.ask(s.olga, http.MethodPut, path, text, "If-None-Match", "*")
	require.Equal(t, http.StatusCreated, w.Code, w.Body.String())
	assert.Equal(t, path, w.Header().Get("Location"))
	refused(t, http.StatusPreconditionFailed, s.ask(s.olga, http.MethodPut, path, `{"unitPrice":1,"currency":"EUR"}`, "If-None-Match", "*"))
	require.Equal(t, http.StatusOK, s.ask(s.olga, http.MethodPut, path, `{"unitPrice":4600,"currency":"EUR"}`).Code)
	w = s.ask(s.alice, http.MethodGet, path, "")
	require.Equal(t, http.StatusOK, w.Code)
	assert.Contains(t, w.Body.String(), `"unitPrice":4600`)

	w = s.ask(s.bob, http.MethodGet, "/api/prices?limit=1", "")
	require.Equal(t, http.StatusOK, w.Code)
	var page struct {
		Prices []price
		Next   string
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
	require.Len(t, page.Prices, 1)
	assert.Equal(t, "SKU-123", page.Prices[0].SKU)
	assert.Equal(t, "/api/prices?after=SKU-123&limit=1", page.Next)
	assert.Contains(t, s.ask(s.bob, http.MethodGet, page.Next, "").Body.String(), "SKU-456")

	for name, c := range map[string]struct{ path, body, field string }{
		"no currency":      {path, `{"unitPrice":1,"currency":"eur"}`, "currency"},
		"none":             {path, `{"unitPrice":1}`, "currency"},
		"a negative price": {path, `{"unitPrice":-1,"currency":"EUR"}`, "unitPrice"},
		"too high":         {path, `{"unitPrice":1000000000001,"currency":"EUR"}`, "unitPrice"},
		"one more field":   {path, `{"unitPrice":1,"currency":"EUR","sku":"A"}`, "sku"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, fields(refused(t, http.StatusBadRequest, s.ask(s.olga, http.MethodPut, c.path, c.body))), c.field)
		})
	}
	assert.Equal(t, []string{"currency"}, fields(refused(t, http.StatusUnprocessableEntity, s.ask(s.olga, http.MethodPut, path, `{"unitPrice":1,"currency":"CHF"}`))))
	for _, bad := range []string{"/api/prices/.x!", "/api/prices?limit=0", "/api/prices?x=1", "/api/prices?after=a%20b"} {
		refused(t, http.StatusBadRequest, s.ask(s.olga, http.MethodGet, bad, ""))
	}
	refused(t, http.StatusBadRequest, s.ask(s.olga, http.MethodPut, path, text, "If-None-Match", `"1"`))
	refused(t, http.StatusMethodNotAllowed, s.ask(s.olga, http.MethodDelete, path, ""))
	assert.Equal(t, 1, mysqltest.Count(t, s.DB, "SELECT COUNT(*) FROM prices WHERE sku = 'SKU-456' AND unit_price = 4600"))
	olga := s.provider.Issuer + " olga"
	assert.Equal(t, []string{"4500 | EUR | " + olga, "4600 | EUR | " + olga},
		mysqltest.Rows(t, s.DB, "SELECT unit_price, currency, actor FROM price_log WHERE sku = 'SKU-456' ORDER BY id"), "what was refused is not in it")
}

func fields(p problem) (names []string) {
	for _, e := range p.Errors {
		names = append(names, e.Field)
	}
	return names
}

func TestPricesWithoutALogInAreForEverybody(t *testing.T) {
	f := start(t)
	assert.Equal(t, http.StatusCreated, send(t.Context(), f, http.MethodPut, "/api/prices/A", `{"unitPrice":1,"currency":"EUR"}`).Code)
	assert.Equal(t, http.StatusOK, send(t.Context(), f, http.MethodGet, "/api/prices/A", "").Code)
}
