package openapitest_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/openapitest"
)

const id = "01a2131d-19f5-73f3-957a-f504bf20da07"

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestAnAnswerIsHeldAgainstItsDescription(t *testing.T) {
	created := func(more ...string) http.Header {
		return headers(append([]string{"Content-Type", "application/json", "Location", "/api/orders/" + id, "X-Correlation-ID", "flow-1"}, more...)...)
	}
	problem := headers("Content-Type", "application/problem+json")
	const accepted = `{"orderId":"` + id + `","status":"PENDING"}`
	for name, c := range map[string]struct {
		method, path string
		status       int
		header       http.Header
		body         string
		failure      string // empty for a valid answer
	}{
		"as described":             {"POST", "/api/orders", 201, created(), accepted, ""},
		"with a query":             {"GET", "/api/inventory/A?x=1", 200, headers("Content-Type", "application/json", "ETag", `"1"`, "X-Correlation-ID", "f"), `{"sku":"A","availableQty":1,"reservedQty":0}`, ""},
		"an optional header":       {"POST", "/api/orders", 201, created("Idempotency-Replayed", "true"), accepted, ""},
		"a header that is wrong":   {"POST", "/api/orders", 201, created("Idempotency-Replayed", "yes"), accepted, "Idempotency-Replayed"},
		"a header that is missing": {"POST", "/api/orders", 201, headers("Content-Type", "application/json", "X-Correlation-ID", "f"), accepted, "Location"},
		"an unknown field":         {"POST", "/api/orders", 201, created(), `{"orderId":"` + id + `","status":"PENDING","x":1}`, "additional"},
		"a field that is missing":  {"POST", "/api/orders", 201, created(), `{"orderId":"` + id + `"}`, "status"},
		"another status of it":     {"POST", "/api/orders", 204, created(), accepted, "not described"},
		"another media type":       {"POST", "/api/orders", 201, created("Content-Type", "text/plain"), accepted, "content type"},
		"a body that is no JSON":   {"POST", "/api/orders", 201, created(), "accepted", "the body"},
		"a problem":                {"GET", "/api/orders/" + id, 404, problem, `{"type":"about:blank","title":"Not Found","status":404}`, ""},
		"a problem of no shape":    {"GET", "/api/orders/" + id, 404, problem, `{"error":"lost"}`, "the body"},
		"503 without a time":       {"GET", "/api/orders/" + id, 503, problem, `{"type":"about:blank","title":"Service Unavailable","status":503}`, "Retry-After"},
		"an unknown path":          {"GET", "/api/nothing", 404, problem, `{"type":"about:blank","title":"Not Found","status":404}`, ""},
		"an unknown path that is":  {"GET", "/api/nothing", 200, problem, `{}`, "not described"},
		"an unknown method":        {"PATCH", "/api/orders", 405, problem, `{"type":"about:blank","title":"Method Not Allowed","status":405}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			to, err := url.Parse(c.path)
			require.NoError(t, err)
			err = openapitest.Check(c.method, to, c.status, c.header, []byte(c.body))
			if c.failure == "" {
				assert.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.failure)
		})
	}
}
