package createorder

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/orders"
)

// shop returns a function whose customers log in at a provider. SKU-123 costs 1299.
func shop(t *testing.T) (*Function, *identitytest.Provider) {
	t.Helper()
	p := identitytest.Start(t)
	f := functiontest.Start(t, New(), p.Config())
	setPrice(t, f, "SKU-123", 1299, "EUR")
	return f, p
}

func setPrice(t *testing.T, f *Function, sku string, price int64, currency string) {
	t.Helper()
	_, err := orders.New(f.DB).SetPrice(t.Context(), orders.SetPriceParams{Sku: sku, UnitPrice: price, Currency: currency, UpdatedAt: time.Now()})
	require.NoError(t, err)
}

func as(token string, more ...string) http.Header {
	return binary(append([]string{"Authorization", "Bearer " + token}, more...)...)
}

const unpriced = `{"customerEmail":"alice@example.com","items":[{"sku":"SKU-123","quantity":2}]}`

func TestAnOrderBelongsToWhoHasLoggedIn(t *testing.T) {
	f, p := shop(t)
	_, answer := answerOf(t, post(f, as(p.Customer("alice")), unpriced))
	owner, err := orders.New(f.DB).GetOwner(t.Context(), answer.OrderID)
	require.NoError(t, err)
	require.NotNil(t, owner)
	assert.Equal(t, p.Issuer+" alice", *owner)
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	fact, err := events.Decode[events.OrderCreated](emitted[0])
	require.NoError(t, err)
	assert.Equal(t, []events.Item{{SKU: "SKU-123", Quantity: 2, UnitPrice: 1299}}, fact.Items)
	assert.Equal(t, int64(2598), fact.TotalAmount)
}

func TestTheLongestOwnerIsStored(t *testing.T) {
	f, p := shop(t)
	ctx := identity.With(t.Context(), identity.Principal{Issuer: strings.Repeat("i", 511), Subject: strings.Repeat("s", 255), Email: "alice@example.com", EmailVerified: true})
	accepted, err := f.Create(ctx, Command{Order: wanted(1), Cause: events.Cause{CorrelationID: "flow-1"}})
	require.NoError(t, err)
	owner, err := orders.New(f.DB).GetOwner(t.Context(), accepted.OrderID)
	require.NoError(t, err)
	assert.Len(t, *owner, identity.MaxOwner)
	assert.NotEqual(t, p.Issuer, *owner)
}

func TestWhoMayOrder(t *testing.T) {
	f, p := shop(t)
	claims := func(changes map[string]any) string { return p.Sign(p.Claims("alice", changes), nil) }
	for name, c := range map[string]struct {
		token  string // none if empty
		body   string
		status int
		says   string
	}{
		"a customer":                 {claims(nil), body, http.StatusCreated, ""},
		"in other case of a domain":  {claims(map[string]any{"email": "alice@EXAMPLE.com"}), body, http.StatusCreated, ""},
		"an operator for another":    {p.Operator("olga"), body, http.StatusCreated, ""},
		"nobody":                     {"", body, http.StatusUnauthorized, "Bearer"},
		"an expired token":           {claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), body, http.StatusUnauthorized, "expired"},
		"for another's address":      {p.Customer("bob"), body, http.StatusForbidden, "customerEmail"},
		"in other case of a name":    {claims(map[string]any{"email": "Alice@example.com"}), body, http.StatusForbidden, "customerEmail"},
		"an address that is a part":  {claims(map[string]any{"email": "ice@example.com"}), body, http.StatusForbidden, "customerEmail"},
		"an unverified address":      {claims(map[string]any{"email_verified": false}), body, http.StatusForbidden, "verified"},
		"no address":                 {claims(map[string]any{"email": nil}), body, http.StatusForbidden, "verified"},
		"nobody, with a broken body": {"", "{", http.StatusUnauthorized, "Bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			header := binary("Ce-Id", name)
			if c.token != "" {
				header = as(c.token, "Ce-Id", name)
			}
			before := mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders")
			w := post(f, header, c.body)
			require.Equal(t, c.status, w.Code, w.Body.String())
			if c.status == http.StatusCreated {
				return
			}
			assert.Contains(t, problemOf(t, w).Detail, c.says)
			assert.Equal(t, c.status == http.StatusUnauthorized, w.Header().Get("WWW-Authenticate") != "")
			assert.Equal(t, before, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
		})
	}
}

func TestACallWithoutAPrincipalIsRefusedOncePeopleLogIn(t *testing.T) {
	f, _ := shop(t)
	_, err := f.Create(t.Context(), keyed("k", 1))
	problem, ok := err.(*rest.Problem) //nolint:errorlint // as it is returned
	require.True(t, ok, "%v", err)
	assert.Equal(t, http.StatusForbidden, problem.Status)
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestWithoutTheProviderNobodyOrders(t *testing.T) {
	f, p := shop(t)
	token := p.Customer("alice")
	p.Down()
	w := post(f, as(token), body)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestThePriceIsThatOfTheCatalogue(t *testing.T) {
	f, p := shop(t)
	setPrice(t, f, "FREE", 0, "EUR")
	setPrice(t, f, "FRANCS", 5, "CHF")
	setPrice(t, f, "DEAR", 1_000_000_000_000, "EUR")
	order := func(items string) string { return `{"customerEmail":"alice@example.com","items":[` + items + `]}` }
	type refusal map[string]string
	for name, c := range map[string]struct {
		items   string
		status  int
		refused refusal
	}{
		"the price":               {`{"sku":"SKU-123","quantity":2,"unitPrice":1299}`, http.StatusCreated, nil},
		"none, in part":           {`{"sku":"SKU-123","quantity":2},{"sku":"SKU-123","quantity":1,"unitPrice":1299}`, http.StatusCreated, nil},
		"nothing":                 {`{"sku":"FREE","quantity":2},{"sku":"FREE","quantity":1,"unitPrice":0}`, http.StatusCreated, nil},
		"a lower price":           {`{"sku":"SKU-123","quantity":2},{"sku":"SKU-123","quantity":2,"unitPrice":1298}`, 422, refusal{"items[1].unitPrice": "SKU-123 costs 1299"}},
		"a higher price":          {`{"sku":"SKU-123","quantity":2,"unitPrice":1300}`, 422, refusal{"items[0].unitPrice": "SKU-123 costs 1299"}},
		"nothing for something":   {`{"sku":"SKU-123","quantity":2,"unitPrice":0}`, 422, refusal{"items[0].unitPrice": "SKU-123 costs 1299"}},
		"what has no price":       {`{"sku":"NEW","quantity":1,"unitPrice":1},{"sku":"sku-123","quantity":1}`, 422, refusal{"items[0].sku": "NEW", "items[1].sku": "sku-123"}},
		"another currency":        {`{"sku":"FRANCS","quantity":1}`, 422, refusal{"items[0].sku": "CHF"}},
		"minus one is no absence": {`{"sku":"SKU-123","quantity":2,"unitPrice":-1}`, 400, refusal{"items[0].unitPrice": "must be"}},
		"null":                    {`{"sku":"SKU-123","quantity":2,"unitPrice":null}`, 400, refusal{"items[0].unitPrice": "must be"}},
		"a total too high":        {`{"sku":"DEAR","quantity":9008}`, 400, refusal{"items": "sum up"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := post(f, as(p.Customer("alice"), "Ce-Id", name), order(c.items))
			require.Equal(t, c.status, w.Code, w.Body.String())
			if c.refused == nil {
				return
			}
			problem := problemOf(t, w)
			require.Len(t, problem.Errors, len(c.refused))
			for _, refused := range problem.Errors {
				require.Contains(t, c.refused, refused.Field)
				assert.Contains(t, refused.Detail, c.refused[refused.Field])
			}
		})
	}
}

func TestWithoutALogInARequestNamesThePrice(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	setPrice(t, f, "SKU-123", 5, "EUR")
	w := post(f, binary(), unpriced)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	assert.Equal(t, "items[0].unitPrice", problemOf(t, w).Errors[0].Field)
	answerOf(t, post(f, binary(), body))
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE owner IS NULL AND total_amount = 2598"))
}

func TestARepeatedOrderGetsItsAnswerThoughThePriceHasChanged(t *testing.T) {
	f, p := shop(t)
	for name, text := range map[string]string{"priced": body, "unpriced": unpriced} {
		t.Run(name, func(t *testing.T) {
			setPrice(t, f, "SKU-123", 1299, "EUR")
			_, first := answerOf(t, post(f, as(p.Customer("alice"), "Ce-Idempotencykey", name), text))
			setPrice(t, f, "SKU-123", 1400, "EUR")
			w := post(f, as(p.Customer("alice"), "Ce-Id", "again", "Ce-Idempotencykey", name), text)
			_, again := answerOf(t, w)
			assert.Equal(t, first, again)
			assert.Equal(t, "true", w.Header().Get("Idempotency-Replayed"))
			w = post(f, as(p.Customer("alice"), "Ce-Idempotencykey", name), strings.Replace(text, `"quantity":2`, `"quantity":3`, 1))
			assert.Equal(t, http.StatusUnprocessableEntity, w.Code)
			assert.Contains(t, problemOf(t, w).Detail, "another body")
		})
	}
}

func TestConcurrentOrdersWithOneKeyAreOneOrder(t *testing.T) {
	f, p := shop(t)
	token := p.Customer("alice")
	ids := map[string]bool{}
	var mu sync.Mutex
	functiontest.Concurrently(8, func(int) {
		w := post(f, as(token, "Ce-Idempotencykey", "k"), unpriced)
		if !assert.Equal(t, http.StatusCreated, w.Code, w.Body.String()) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		ids[w.Header().Get("Location")] = true
	})
	assert.Len(t, ids, 1)
	assert.Equal(t, 1, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
}

func TestAKeyBelongsToItsPrincipal(t *testing.T) {
	f, p := shop(t)
	other := `{"customerEmail":"bob@example.com","items":[{"sku":"SKU-123","quantity":7}]}`
	for _, key := range [][]string{{"Ce-Idempotencykey", "k"}, {"Ce-Id", "one"}} { // the event's own id is a key, too
		_, first := answerOf(t, post(f, as(p.Customer("alice"), key...), unpriced))
		_, second := answerOf(t, post(f, as(p.Customer("bob"), key...), other))
		_, again := answerOf(t, post(f, as(p.Customer("alice"), key...), unpriced))
		assert.NotEqual(t, first, second)
		assert.Equal(t, first, again)
	}
	assert.Equal(t, 4, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders"))
	assert.Equal(t, 2, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM orders WHERE owner = ?", p.Issuer+" bob"))
}
