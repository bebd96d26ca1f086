package cancelorder

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
)

// TestACommandCancelsOnlyWhatItsSenderOwns posts the command, as people and programs do.
func TestACommandCancelsOnlyWhatItsSenderOwns(t *testing.T) {
	p := identitytest.Start(t)
	f := functiontest.Start(t, New(), p.Config())
	handler, err := host.Handler(f)
	require.NoError(t, err)
	post := func(token, orderID string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(`{"orderId":"`+orderID+`"}`))
		for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/desk", "Ce-Type": events.OrderCancelType, "Content-Type": "application/json"} {
			r.Header.Set(name, value)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	order := func(owner string, status orders.OrdersStatus) string {
		id := functiontest.OrderID()
		functiontest.Order(t, f.DB, id, status)
		if owner != "" {
			_, err := f.DB.ExecContext(t.Context(), "UPDATE orders SET owner = ? WHERE id = ?", p.Issuer+" "+owner, id)
			require.NoError(t, err)
		}
		return id
	}
	missing := functiontest.OrderID()
	none := post(p.Customer("bob"), missing)
	require.Equal(t, http.StatusUnprocessableEntity, none.Code)
	for name, id := range map[string]string{
		"alice's": order("alice", orders.OrdersStatusPENDING), "a failed one": order("alice", orders.OrdersStatusFAILED), "of nobody": order("", orders.OrdersStatusPENDING),
		"of a longer name": order("bobby", orders.OrdersStatusPENDING),
	} {
		w := post(p.Customer("bob"), id)
		assert.Equal(t, none.Code, w.Code, name)
		assert.Equal(t, strings.ReplaceAll(none.Body.String(), missing, id), w.Body.String(), name)
		w = post("", id)
		assert.Equal(t, http.StatusUnauthorized, w.Code, name)
		assert.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
		_, err := f.Cancel(t.Context(), id, events.Cause{})
		assert.ErrorIs(t, err, saga.ErrUnknownOrder, "a call without a principal")
	}
	assert.Empty(t, outboxtest.Drain(t, f.DB))

	alices, nobodys := order("alice", orders.OrdersStatusPENDING), order("", orders.OrdersStatusPENDING)
	assert.Equal(t, http.StatusOK, post(p.Customer("alice"), alices).Code)
	assert.Equal(t, http.StatusOK, post(p.Operator("olga"), alices).Code)
	assert.Equal(t, http.StatusOK, post(p.Operator("olga"), nobodys).Code)
	assert.Len(t, outboxtest.Drain(t, f.DB), 2)
}
