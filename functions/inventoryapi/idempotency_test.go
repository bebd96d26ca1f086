package inventoryapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

// kinds has the two requests that take a key: one that is applied, one that is equal after decoding, and different ones.
var kinds = map[string]struct {
	send        func(t testing.TB, f *Function, sku, body string, headers ...string) *httptest.ResponseRecorder
	body, equal string
	others      map[string]string
}{
	"put": {
		put, `{"availableQty":0}`, " {\"available\\u0051ty\" : 0.0}\n",
		map[string]string{"another level": `{"availableQty":1}`},
	},
	"adjust": {
		adjust, `{"delta":-10,"reason":"lost"}`, " {\"reason\":\"l\\u006fst\", \"delta\":-10}\n",
		map[string]string{"another delta": `{"delta":-1,"reason":"lost"}`, "another reason": `{"delta":-10,"reason":"found"}`},
	},
}

func TestAKnownKeyIsAnsweredLikeTheFirstTime(t *testing.T) {
	for kind, c := range kinds {
		t.Run(kind, func(t *testing.T) {
			f := start(t)
			stock(t, f, "A", 10, 3, 4)
			first := c.send(t, f, "A", c.body, "Idempotency-Key", "k-1", "If-Match", `"4"`, "X-Correlation-ID", "flow-1")
			answered(t, first, http.StatusOK, `"5"`, `{"sku":"A","availableQty":0,"reservedQty":3}`)
			assert.Empty(t, first.Header().Get("Idempotency-Replayed"))
			want := first.Header().Clone()
			want.Set("Idempotency-Replayed", "true")
			// The level changes, so that the ETag of the repeated request is stale.
			require.Equal(t, http.StatusOK, adjust(t, f, "A", `{"delta":2,"reason":"found"}`).Code)

			for key, body := range map[string]string{"k-1": c.body, `"k-1"`: c.equal} {
				again := c.send(t, f, "A", body, "Idempotency-Key", key, "If-Match", `"4"`, "X-Correlation-ID", "flow-1")
				assert.Equal(t, http.StatusOK, again.Code)
				assert.Equal(t, want, again.Header())
				assert.Equal(t, first.Body.String(), again.Body.String())
			}
			assert.Equal(t, 2, changes(t, f))
			assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT available_qty FROM inventory"))
		})
	}
}

func TestAKnownKeyOfAMadeSKUIsAnsweredLikeTheFirstTime(t *testing.T) {
	f := start(t)
	first := put(t, f, "A", `{"availableQty":10}`, "Idempotency-Key", "k-1")
	again := put(t, f, "A", `{"availableQty":10}`, "Idempotency-Key", "k-1")

	answered(t, again, http.StatusCreated, `"1"`, first.Body.String())
	assert.Equal(t, "/api/inventory/A", again.Header().Get("Location"))
	assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	assert.Equal(t, 1, changes(t, f))
}

func TestAKnownKeyWithAnotherBodyIsRefused(t *testing.T) {
	for kind, c := range kinds {
		for name, body := range c.others {
			t.Run(kind+" "+name, func(t *testing.T) {
				f := start(t)
				stock(t, f, "A", 10, 3, 4)
				require.Equal(t, http.StatusOK, c.send(t, f, "A", c.body, "Idempotency-Key", "k-1").Code)

				w := c.send(t, f, "A", body, "Idempotency-Key", "k-1")

				assert.Contains(t, refused(t, http.StatusUnprocessableEntity, w).Detail, "another body")
				assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
				assert.Equal(t, 1, changes(t, f))
				assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT available_qty FROM inventory"))
			})
		}
	}
}

func TestTheSameKeyOfAnotherSKUOrMethodIsAnotherKey(t *testing.T) {
	f := start(t)
	for _, sku := range []string{"A", "B"} {
		require.Equal(t, http.StatusCreated, put(t, f, sku, `{"availableQty":10}`, "Idempotency-Key", "k").Code)
		w := adjust(t, f, sku, `{"delta":1,"reason":"found"}`, "Idempotency-Key", "k")
		require.Equal(t, http.StatusOK, w.Code)
		assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
	}
	assert.Equal(t, 4, changes(t, f))
}

func TestWithoutAKeyEveryRequestIsCarriedOut(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 0, 1)
	for range 2 {
		w := adjust(t, f, "A", `{"delta":1,"reason":"found"}`)
		require.Equal(t, http.StatusOK, w.Code)
		assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
	}
	assert.Equal(t, 12, mysqltest.Count(t, f.DB, "SELECT available_qty FROM inventory"))
}

func TestABadKeyIsRefused(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 0, 1)
	for kind, c := range kinds {
		for _, key := range []string{"", `""`, strings.Repeat("k", 256), `"k`, "a b"} {
			assert.Contains(t, refused(t, http.StatusBadRequest, c.send(t, f, "A", c.body, "Idempotency-Key", key)).Detail, "Idempotency-Key", kind)
		}
		refused(t, http.StatusBadRequest, c.send(t, f, "A", c.body, "Idempotency-Key", "a", "Idempotency-Key", "b"))
	}
	assert.Zero(t, changes(t, f))
}

// The first of them leaves too few units for a second one, and makes the ETag stale.
func TestParallelRequestsWithOneKeyChangeTheLevelOnce(t *testing.T) {
	for kind, c := range kinds {
		t.Run(kind, func(t *testing.T) {
			f := start(t)
			stock(t, f, "A", 10, 3, 4)
			answers := make([]*httptest.ResponseRecorder, 50)
			functiontest.Concurrently(len(answers), func(i int) {
				answers[i] = c.send(t, f, "A", c.body, "Idempotency-Key", "k-1", "If-Match", `"4"`)
			})
			firsts := 0
			for _, w := range answers {
				assert.Equal(t, http.StatusOK, w.Code, w.Body.String())
				assert.Equal(t, answers[0].Body.String(), w.Body.String())
				assert.Equal(t, `"5"`, w.Header().Get("ETag"))
				if w.Header().Get("Idempotency-Replayed") == "" {
					firsts++
				}
			}
			assert.Equal(t, 1, firsts)
			assert.Equal(t, 1, changes(t, f))
			assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT available_qty FROM inventory"))
		})
	}
}

func TestParallelRequestsWithOneKeyMakeOneSKU(t *testing.T) {
	f := start(t)
	answers := make([]*httptest.ResponseRecorder, 50)
	functiontest.Concurrently(len(answers), func(i int) {
		answers[i] = put(t, f, "A", `{"availableQty":10}`, "Idempotency-Key", "k-1")
	})
	firsts := 0
	for _, w := range answers {
		assert.Equal(t, http.StatusCreated, w.Code, w.Body.String())
		assert.Equal(t, answers[0].Body.String(), w.Body.String())
		assert.Equal(t, "/api/inventory/A", w.Header().Get("Location"))
		if w.Header().Get("Idempotency-Replayed") == "" {
			firsts++
		}
	}
	assert.Equal(t, 1, firsts)
	assert.Equal(t, 1, changes(t, f))
}

func TestARequestThatIsRolledBackLeavesNoKey(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 3, 4)
	_, err := f.DB.ExecContext(t.Context(), "RENAME TABLE stock_log TO away")
	require.NoError(t, err)
	refused(t, http.StatusInternalServerError, adjust(t, f, "A", `{"delta":-10,"reason":"lost"}`, "Idempotency-Key", "k-1"))
	_, err = f.DB.ExecContext(t.Context(), "RENAME TABLE away TO stock_log")
	require.NoError(t, err)

	w := adjust(t, f, "A", `{"delta":-9,"reason":"lost"}`, "Idempotency-Key", "k-1")
	answered(t, w, http.StatusOK, `"5"`, `{"sku":"A","availableQty":1,"reservedQty":3}`)
	assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
}
