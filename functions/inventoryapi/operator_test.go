package inventoryapi

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

func TestStockIsForOperators(t *testing.T) {
	p := identitytest.Start(t)
	f := functiontest.Start(t, New(), p.Config())
	stock(t, f, "SKU-123", 5, 0, 1)
	for _, c := range []struct{ method, path, body string }{
		{http.MethodGet, "/api/inventory", ""},
		{http.MethodGet, "/api/inventory/SKU-123", ""},
		{http.MethodPut, "/api/inventory/SKU-123", `{"availableQty":7}`},
		{http.MethodPost, "/api/inventory/SKU-123/adjustments", `{"delta":1,"reason":"found"}`},
	} {
		for token, status := range map[string]int{"": http.StatusUnauthorized, p.Customer("alice"): http.StatusForbidden, p.Operator("olga"): http.StatusOK} {
			headers := []string{}
			if token != "" {
				headers = append(headers, "Authorization", "Bearer "+token)
			}
			assert.Equal(t, status, send(t.Context(), f, c.method, c.path, c.body, headers...).Code, "%s %s", c.method, c.path)
		}
	}
	assert.Equal(t, []string{"2 | " + p.Issuer + " olga", "1 | " + p.Issuer + " olga"},
		mysqltest.Rows(t, f.DB, "SELECT delta, actor FROM stock_log ORDER BY id"), "one change of each kind")
}

func TestAKeyOfAnotherOperatorIsAnotherKey(t *testing.T) {
	p := identitytest.Start(t)
	f := functiontest.Start(t, New(), p.Config())
	for _, subject := range []string{"olga", "otto", "olga"} {
		assert.Less(t, put(t, f, "SKU-123", `{"availableQty":`+map[string]string{"olga": "1", "otto": "2"}[subject]+`}`,
			"Idempotency-Key", "k", "Authorization", "Bearer "+p.Operator(subject)).Code, 300)
	}
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM stock_log"))
}
