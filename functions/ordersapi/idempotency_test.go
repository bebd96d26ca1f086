package ordersapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/orders"
)

func create(ctx context.Context, f *Function, body, key string) *httptest.ResponseRecorder {
	return send(ctx, f, http.MethodPost, "/api/orders", body, "Idempotency-Key", key, "X-Correlation-ID", "flow-1")
}

func TestAKnownKeyIsAnsweredLikeTheFirstTime(t *testing.T) {
	f := start(t)
	first := create(t.Context(), f, body, "k-1")
	accepted(t, first)
	require.Empty(t, first.Header().Get("Idempotency-Replayed"))
	want := first.Header().Clone()
	want.Set("Idempotency-Replayed", "true")

	for name, c := range map[string]struct{ body, key string }{
		"the same":             {body, "k-1"},
		"the quoted form":      {body, `"k-1"`},
		"equal after decoding": {`{ "items": [{"unitPrice":1299,"sku":"SKU\u002d123","quantity":2}], "customerEmail": "alice@example.com" }`, "k-1"},
	} {
		t.Run(name, func(t *testing.T) {
			again := create(t.Context(), f, c.body, c.key)
			assert.Equal(t, http.StatusCreated, again.Code)
			assert.Equal(t, want, again.Header())
			assert.Equal(t, first.Body.String(), again.Body.String())
		})
	}
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}

func TestTheFirstAnswerIsGivenAgainThoughTheOrderHasMovedOn(t *testing.T) {
	f := start(t)
	first := create(t.Context(), f, body, "k-1")
	id := accepted(t, first).OrderID
	require.Equal(t, http.StatusOK, send(t.Context(), f, http.MethodPost, "/api/orders/"+id+"/cancel", "").Code)

	again := create(t.Context(), f, body, "k-1")
	assert.Equal(t, http.StatusCreated, again.Code)
	assert.Equal(t, first.Body.String(), again.Body.String())
}

func TestAKnownKeyWithAnotherBodyIsRefused(t *testing.T) {
	f := start(t)
	accepted(t, create(t.Context(), f, body, "k-1"))
	twice := `{"sku":"A","quantity":1,"unitPrice":1},{"sku":"B","quantity":1,"unitPrice":1}`
	accepted(t, create(t.Context(), f, `{"customerEmail":"a@b.io","items":[`+twice+`]}`, "k-2"))
	for name, c := range map[string]struct{ body, key string }{
		"another quantity":         {otherBody, "k-1"},
		"another price":            {strings.Replace(body, "1299", "1298", 1), "k-1"},
		"another address":          {strings.Replace(body, "alice", "bob", 1), "k-1"},
		"another case of it":       {strings.Replace(body, "alice", "Alice", 1), "k-1"},
		"another form of the key":  {otherBody, `"k-1"`},
		"lines in another order":   {`{"customerEmail":"a@b.io","items":[{"sku":"B","quantity":1,"unitPrice":1},{"sku":"A","quantity":1,"unitPrice":1}]}`, "k-2"},
		"a line twice and not one": {`{"customerEmail":"a@b.io","items":[` + twice + `,` + twice + `]}`, "k-2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := create(t.Context(), f, c.body, c.key)
			assert.Contains(t, refused(t, http.StatusUnprocessableEntity, w).Detail, "another body")
			assert.Empty(t, w.Header().Get("Location"))
			assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
		})
	}
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Equal(t, 3, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM order_items"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 2)
}

func TestKeysThatDifferMakeOrdersOfTheirOwn(t *testing.T) {
	f := start(t)
	ids := map[string]bool{}
	for _, key := range []string{"k", "K", "k.", strings.Repeat("k", 255), `"a b"`} {
		ids[accepted(t, create(t.Context(), f, body, key)).OrderID] = true
	}
	assert.Len(t, ids, 5)
}

func TestABadKeyIsRefused(t *testing.T) {
	f := start(t)
	for name, key := range map[string]string{
		"empty": "", "empty in quotes": `""`, "256 characters": strings.Repeat("k", 256), "open quote": `"k`, "blank": "a b",
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, refused(t, http.StatusBadRequest, create(t.Context(), f, body, key)).Detail, "Idempotency-Key")
		})
	}
	refused(t, http.StatusBadRequest, send(t.Context(), f, http.MethodPost, "/api/orders", body, "Idempotency-Key", "a", "Idempotency-Key", "b"))
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestARefusedRequestLeavesNoKey(t *testing.T) {
	f := start(t)
	refused(t, http.StatusBadRequest, create(t.Context(), f, `{}`, "k-1"))
	w := create(t.Context(), f, body, "k-1")
	accepted(t, w)
	assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
}

func TestParallelRequestsWithOneKeyMakeOneOrder(t *testing.T) {
	f := start(t)
	url := functiontest.Serve(t, f.Handle)
	type answer struct {
		status         int
		body, location string
	}
	answers := make([]answer, 50)
	replayed := make([]bool, len(answers))
	functiontest.Concurrently(len(answers), func(i int) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/orders", strings.NewReader(body))
		if !assert.NoError(t, err) {
			return
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "k-1")
		response, err := http.DefaultClient.Do(r)
		if !assert.NoError(t, err) {
			return
		}
		defer func() { assert.NoError(t, response.Body.Close()) }()
		text := new(strings.Builder)
		assert.NoError(t, response.Write(text))
		_, content, _ := strings.Cut(text.String(), "\r\n\r\n")
		answers[i] = answer{response.StatusCode, content, response.Header.Get("Location")}
		replayed[i] = response.Header.Get("Idempotency-Replayed") == "true"
	})

	firsts := 0
	for i := range answers {
		assert.Equal(t, http.StatusCreated, answers[i].status)
		assert.Equal(t, answers[0], answers[i])
		if !replayed[i] {
			firsts++
		}
	}
	assert.Equal(t, 1, firsts)
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}

func TestParallelRequestsWithOneKeyAndTwoBodiesMakeOneOrder(t *testing.T) {
	f := start(t)
	statuses := make([]int, 20)
	functiontest.Concurrently(len(statuses), func(i int) {
		statuses[i] = create(t.Context(), f, []string{body, otherBody}[i%2], "k-1").Code
	})
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	assert.Equal(t, map[int]int{http.StatusCreated: 10, http.StatusUnprocessableEntity: 10}, count)
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestAKeyThatIsHeldTooLongIs503AndFreeAfterwards(t *testing.T) {
	f := start(t)
	holder, err := f.DB.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, orders.New(holder).InsertOrder(t.Context(), orders.InsertOrderParams{
		ID: functiontest.OrderID(), CustomerEmail: "alice@example.com", Status: orders.OrdersStatusPENDING, Currency: "EUR", Version: 1,
		IdempotencyKeyHash: createorder.KeyHash("k-1"), RequestHash: []byte{}, CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}))
	// The request's own bound is ten seconds (rest.Handler); the client's deadline ends it the same way, only sooner.
	ctx, end := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer end()

	w := create(ctx, f, body, "k-1")

	assert.Contains(t, refused(t, http.StatusServiceUnavailable, w).Detail, "same Idempotency-Key")
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	require.NoError(t, holder.Rollback())
	w = create(t.Context(), f, body, "k-1")
	accepted(t, w)
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestARequestThatIsRolledBackLeavesNoKey(t *testing.T) {
	f := start(t)
	_, err := f.DB.ExecContext(t.Context(), "RENAME TABLE outbox TO away")
	require.NoError(t, err)
	refused(t, http.StatusInternalServerError, create(t.Context(), f, body, "k-1"))
	_, err = f.DB.ExecContext(t.Context(), "RENAME TABLE away TO outbox")
	require.NoError(t, err)
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))

	w := create(t.Context(), f, otherBody, "k-1")
	assert.Equal(t, events.StatusPending, accepted(t, w).Status)
	assert.Empty(t, w.Header().Get("Idempotency-Replayed"))
	assert.Len(t, outboxtest.Drain(t, f.DB), 1)
}
