package createorder

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

func TestOrdersByCloudEventAreLimitedToo(t *testing.T) {
	f := New()
	now := time.Now().UTC().Truncate(time.Microsecond)
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, map[string]string{"RATE_LIMIT_WRITES": "0.1/1"})
	require.Equal(t, http.StatusCreated, post(f, binary("Ce-Id", "1"), body).Code)
	for _, answer := range []int{1, 2} { // even the repetition of an accepted one
		w := post(f, binary("Ce-Id", string(rune('0'+answer))), body)
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		assert.Contains(t, problemOf(t, w).Detail, "again after 10s")
		assert.Equal(t, "10", w.Header().Get("Retry-After"))
	}
	now = now.Add(10 * time.Second)
	require.Equal(t, http.StatusCreated, post(f, binary("Ce-Id", "2"), body).Code)
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}
