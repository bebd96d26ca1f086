package inventoryapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/openapitest"
	"example.com/orders/functions/internal/testkit/porttest"
)

func start(t testing.TB) *Function {
	t.Helper()
	return functiontest.Start(t, New(), nil)
}

// send sends a request with headers, given as names and values, and a JSON body unless it is empty. It checks that the
// answer conforms to the OpenAPI description.
func send(ctx context.Context, f *Function, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.Handle(w, r)
	if err := openapitest.Check(method, r.URL, w.Code, w.Header(), w.Body.Bytes()); err != nil {
		panic(err) // from whatever goroutine
	}
	return w
}

func put(t testing.TB, f *Function, sku, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return send(t.Context(), f, http.MethodPut, "/api/inventory/"+sku, body, headers...)
}

func adjust(t testing.TB, f *Function, sku, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return send(t.Context(), f, http.MethodPost, "/api/inventory/"+sku+"/adjustments", body, headers...)
}

// stock creates a SKU as if version-1 changes had been made to it, one of which reserved units.
func stock(t testing.TB, f *Function, sku string, available, reserved, version int) {
	t.Helper()
	_, err := f.DB.ExecContext(t.Context(), "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES (?, ?, ?, ?, NOW(6))",
		sku, available, reserved, version)
	require.NoError(t, err)
}

// answered asserts that an answer is the level in body, with its ETag.
func answered(t testing.TB, w *httptest.ResponseRecorder, status int, etag, body string) {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(t, etag, w.Header().Get("ETag"))
	assert.JSONEq(t, body, w.Body.String())
}

type problem struct {
	Type, Title, Detail string
	Status              int
	Errors              []struct{ Field, Detail string }
}

// refused returns the problem in an answer, which must have the status.
func refused(t testing.TB, status int, w *httptest.ResponseRecorder) (p problem) {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	assert.Empty(t, w.Header().Get("ETag"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	assert.Equal(t, "about:blank", p.Type)
	assert.Equal(t, http.StatusText(status), p.Title)
	assert.Equal(t, status, p.Status)
	assert.NotEmpty(t, p.Detail)
	return p
}

// changes counts the rows of stock_log.
func changes(t testing.TB, f *Function) int {
	t.Helper()
	return mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM stock_log")
}

func TestPathsAnswerTheMethodsThatTheyHave(t *testing.T) {
	f := start(t)
	for path, c := range map[string]struct {
		refused []string
		allow   string
	}{
		"/api/inventory":               {[]string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, "GET"},
		"/api/inventory/A":             {[]string{"POST", "PATCH", "DELETE", "OPTIONS"}, "GET, PUT"},
		"/api/inventory/A/adjustments": {[]string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS"}, "POST"},
	} {
		for _, method := range c.refused {
			w := send(t.Context(), f, method, path, "")
			refused(t, http.StatusMethodNotAllowed, w)
			assert.Equal(t, c.allow, w.Header().Get("Allow"), "%s %s", method, path)
		}
	}
	for _, path := range []string{"/", "/api", "/api/inventory/", "/api/inventory/A/", "/api/inventory/A/reservations"} {
		refused(t, http.StatusNotFound, send(t.Context(), f, http.MethodGet, path, ""))
	}
}

func TestEveryAnswerNamesItsFlow(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 5, 0, 1)
	for name, c := range map[string]struct{ method, path, body string }{
		"list":     {http.MethodGet, "/api/inventory", ""},
		"level":    {http.MethodGet, "/api/inventory/A", ""},
		"set":      {http.MethodPut, "/api/inventory/A", `{"availableQty":9}`},
		"adjusted": {http.MethodPost, "/api/inventory/A/adjustments", `{"delta":1,"reason":"found"}`},
		"unknown":  {http.MethodGet, "/api/inventory/B", ""},
		"refused":  {http.MethodPut, "/api/inventory/A", "{}"},
		"no path":  {http.MethodGet, "/", ""},
		"method":   {http.MethodDelete, "/api/inventory", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := send(t.Context(), f, c.method, c.path, c.body, "X-Correlation-ID", "flow-1")
			assert.Equal(t, "flow-1", w.Header().Get("X-Correlation-ID"))
			assert.Empty(t, w.Header().Get("X-Correlation-ID-Replaced"))
			w = send(t.Context(), f, c.method, c.path, c.body, "X-Correlation-ID", "a flow")
			assert.True(t, events.ValidCorrelationID(w.Header().Get("X-Correlation-ID")))
			assert.Equal(t, "true", w.Header().Get("X-Correlation-ID-Replaced"))
		})
	}
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM stock_log WHERE correlation_id = 'flow-1'"))
}

func TestRequestsWaitUntilTheFunctionHasStarted(t *testing.T) {
	w := put(t, New(), "A", `{"availableQty":1}`)
	refused(t, http.StatusServiceUnavailable, w)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
}

func TestRequestsAreToBeSentAgainWhenTheDatabaseDoesNotAnswer(t *testing.T) {
	f := New()
	require.NoError(t, f.Start(t.Context(), map[string]string{"MYSQL_DSN": "root@tcp(" + porttest.Address(t) + ")/"}))
	t.Cleanup(func() { assert.NoError(t, f.Stop(context.Background())) })
	for name, w := range map[string]*httptest.ResponseRecorder{
		"list": send(t.Context(), f, http.MethodGet, "/api/inventory", ""),
		"get":  send(t.Context(), f, http.MethodGet, "/api/inventory/A", ""),
		"put":  put(t, f, "A", `{"availableQty":1}`),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, http.StatusServiceUnavailable, w)
			assert.Equal(t, "1", w.Header().Get("Retry-After"))
		})
	}
}

func TestGetAnswersWithTheLevelAndItsTag(t *testing.T) {
	f := start(t)
	stock(t, f, "SKU-123", 100, 7, 4)

	answered(t, send(t.Context(), f, http.MethodGet, "/api/inventory/SKU-123", ""), http.StatusOK, `"4"`,
		`{"sku":"SKU-123","availableQty":100,"reservedQty":7}`)
	p := refused(t, http.StatusNotFound, send(t.Context(), f, http.MethodGet, "/api/inventory/sku-123", ""))
	assert.Contains(t, p.Detail, "sku-123")
}

func TestABadSKUIsRefused(t *testing.T) {
	f := start(t)
	for name, sku := range map[string]string{
		"a space": "a%20b", "a slash": "a%2Fb", "not ASCII": "%C3%A4", "not UTF-8": "%ff", "NUL": "%00", "65 characters": strings.Repeat("s", 65),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, refused(t, http.StatusBadRequest, send(t.Context(), f, http.MethodGet, "/api/inventory/"+sku, "")).Detail, "SKU")
			refused(t, http.StatusBadRequest, put(t, f, sku, `{"availableQty":1}`))
			refused(t, http.StatusBadRequest, adjust(t, f, sku, `{"delta":1,"reason":"found"}`))
		})
	}
	assert.Zero(t, changes(t, f))
}

type page struct {
	Inventory []struct {
		SKU                       string
		AvailableQty, ReservedQty int
	}
	Next string
}

func TestListPagesInTheOrderOfTheSKUs(t *testing.T) {
	f := start(t)
	for i, sku := range []string{"b", "A", "a", "B.1", "C"} {
		stock(t, f, sku, 10*i, i, 1)
	}
	list := func(path string) (p page) {
		w := send(t.Context(), f, http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
		return p
	}
	all := list("/api/inventory")
	var skus []string
	for _, l := range all.Inventory {
		skus = append(skus, l.SKU)
	}
	assert.Equal(t, []string{"A", "B.1", "C", "a", "b"}, skus)
	assert.Equal(t, 30, all.Inventory[1].AvailableQty)
	assert.Equal(t, 3, all.Inventory[1].ReservedQty)
	assert.Empty(t, all.Next)

	first := list("/api/inventory?limit=2")
	assert.Equal(t, all.Inventory[:2], first.Inventory)
	second := list(first.Next)
	assert.Equal(t, all.Inventory[2:4], second.Inventory)
	last := list(second.Next)
	assert.Equal(t, all.Inventory[4:], last.Inventory)
	assert.Empty(t, last.Next)
	assert.Empty(t, list("/api/inventory?limit=5").Next)
}

func TestAnEmptyListIsAList(t *testing.T) {
	w := send(t.Context(), start(t), http.MethodGet, "/api/inventory", "")
	require.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{"inventory":[]}`, w.Body.String())
}

func TestListRefusesWhatItDoesNotKnow(t *testing.T) {
	f := start(t)
	for name, query := range map[string]string{
		"no limit": "limit=", "zero": "limit=0", "negative": "limit=-1", "too many": "limit=1001", "a word": "limit=all", "beyond int": "limit=99999999999999999999",
		"no SKU": "after=", "a bad SKU": "after=a%20b", "another name": "sku=A", "twice": "limit=1&limit=2", "broken": "limit=%zz", "a semicolon": "limit=1;after=A",
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, refused(t, http.StatusBadRequest, send(t.Context(), f, http.MethodGet, "/api/inventory?"+query, "")).Detail, "limit")
		})
	}
}
