package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events/strictjson"
	"example.com/orders/functions/internal/web/rest"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestIdempotencyKeyTakesTheQuotedAndTheBareForm(t *testing.T) {
	for name, c := range map[string]struct {
		sent []string
		want string
		ok   bool
	}{
		"none":                        {nil, "", true},
		"bare":                        {[]string{"order-1"}, "order-1", true},
		"quoted is the same key":      {[]string{`"order-1"`}, "order-1", true},
		"white space around":          {[]string{" \t\"order-1\" "}, "order-1", true},
		"a space within quotes":       {[]string{`"a b"`}, "a b", true},
		"escapes within quotes":       {[]string{`"a\"b\\c"`}, `a"b\c`, true},
		"a backslash is itself, bare": {[]string{`a\b`}, `a\b`, true},
		"255 characters":              {[]string{strings.Repeat("k", 255)}, strings.Repeat("k", 255), true},
		"255 characters in quotes":    {[]string{`"` + strings.Repeat("k", 255) + `"`}, strings.Repeat("k", 255), true},
		"255 escaped characters":      {[]string{`"` + strings.Repeat(`\"`, 255) + `"`}, strings.Repeat(`"`, 255), true},
		"256 characters":              {[]string{strings.Repeat("k", 256)}, "", false},
		"256 characters in quotes":    {[]string{`"` + strings.Repeat("k", 256) + `"`}, "", false},
		"empty":                       {[]string{""}, "", false},
		"empty in quotes":             {[]string{`""`}, "", false},
		"a quote that does not end":   {[]string{`"order-1`}, "", false},
		"only a quote":                {[]string{`"`}, "", false},
		"an escaped last quote":       {[]string{`"order-1\"`}, "", false},
		"another escape":              {[]string{`"a\n"`}, "", false},
		"a quote inside":              {[]string{`"a"b"`}, "", false},
		"a quote inside, bare":        {[]string{`a"b`}, "", false},
		"a space, bare":               {[]string{`a b`}, "", false},
		"not ASCII":                   {[]string{"schlüssel"}, "", false},
		"a control character":         {[]string{"a\x7fb"}, "", false},
		"two keys":                    {[]string{"a", "a"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			for _, value := range c.sent {
				r.Header.Add(rest.KeyHeader, value)
			}
			key, err := rest.IdempotencyKey(r)
			if c.ok {
				require.NoError(t, err)
				assert.Equal(t, c.want, key)
				return
			}
			var problem *rest.Problem
			require.ErrorAs(t, err, &problem)
			assert.Equal(t, http.StatusBadRequest, problem.Status)
		})
	}
}

func TestKeyHashDistinguishesScopes(t *testing.T) {
	seen := map[string]string{}
	for _, parts := range [][4]string{
		{"POST", "/api/orders", "anonymous", "k"},
		{"PUT", "/api/orders", "anonymous", "k"},
		{"POST", "/api/inventory", "anonymous", "k"},
		{"POST", "/api/orders", "alice", "k"},
		{"POST", "/api/orders", "anonymous", "K"},
		{"POST", "/api/ordersa", "nonymous", "k"},
		{"POST", "/api/orders", "anonymousk", ""},
	} {
		hash := string(rest.KeyHash(parts[0], parts[1], parts[2], parts[3]))
		assert.Len(t, hash, 32)
		assert.Empty(t, seen[hash], "%v has the hash of another", parts)
		seen[hash] = fmt.Sprint(parts)
	}
}

func TestCorrelationTakesGoodIDsAndSaysWhichItReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		sent, want, replaced string
	}{
		"none":                   {"", "new-id", ""},
		"one character":          {"a", "a", ""},
		"every kind of it":       {"AZaz09._:-", "AZaz09._:-", ""},
		"128 characters":         {strings.Repeat("c", 128), strings.Repeat("c", 128), ""},
		"129 characters":         {strings.Repeat("c", 129), "new-id", "true"},
		"a space":                {"a b", "new-id", "true"},
		"what could split a log": {"a\nb", "new-id", "true"},
		"not ASCII":              {"ü", "new-id", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set(rest.CorrelationHeader, c.sent)
			id, given := rest.Correlation(w, r, func() string { return "new-id" })
			assert.Equal(t, c.want, id)
			assert.Equal(t, c.want == c.sent, given)
			assert.Equal(t, c.want, w.Header().Get(rest.CorrelationHeader))
			assert.Equal(t, c.replaced, w.Header().Get("X-Correlation-ID-Replaced"))
		})
	}
}

func TestBodyIsBoundedJSON(t *testing.T) {
	for name, c := range map[string]struct {
		media  string
		size   int
		status int
	}{
		"one MiB":                {"application/json", 1 << 20, 0},
		"UTF-8":                  {"application/json; charset=UTF-8", 1, 0},
		"letter case of media":   {"Application/JSON", 1, 0},
		"one byte more":          {"application/json", 1<<20 + 1, http.StatusRequestEntityTooLarge},
		"another charset":        {"application/json; charset=utf-16", 1, http.StatusUnsupportedMediaType},
		"no media type":          {"", 1, http.StatusUnsupportedMediaType},
		"a form":                 {"application/x-www-form-urlencoded", 1, http.StatusUnsupportedMediaType},
		"broken media type":      {"application/json;=", 1, http.StatusUnsupportedMediaType},
		"media before the bound": {"text/plain", 1<<20 + 1, http.StatusUnsupportedMediaType},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat(" ", c.size)))
			r.Header.Set("Content-Type", c.media)
			body, err := rest.Body(w, r)
			if c.status == 0 {
				require.NoError(t, err)
				assert.Len(t, body, c.size)
				return
			}
			var problem *rest.Problem
			require.ErrorAs(t, err, &problem)
			assert.Equal(t, c.status, problem.Status)
		})
	}
}

func TestHandlerTurnsErrorsIntoProblems(t *testing.T) {
	for name, c := range map[string]struct {
		err        error
		status     int
		retryAfter string
		detail     string
		logged     bool
	}{
		"a problem": {
			err:    fmt.Errorf("look: %w", rest.NewProblem(http.StatusConflict, "too late")),
			status: http.StatusConflict, detail: "too late",
		},
		"not ready": {err: rest.Unavailable("starting"), status: http.StatusServiceUnavailable, retryAfter: "1", detail: "starting"},
		"a deadlock": {
			err:    fmt.Errorf("insert: %w", &mysql.MySQLError{Number: 1213}),
			status: http.StatusServiceUnavailable, retryAfter: "1", logged: true,
			detail: "the request was not carried out, or its outcome is not known: send it again with the same Idempotency-Key",
		},
		"out of time": {
			err:    fmt.Errorf("insert: %w", context.DeadlineExceeded),
			status: http.StatusServiceUnavailable, retryAfter: "1", logged: true,
			detail: "the request was not carried out, or its outcome is not known: send it again with the same Idempotency-Key",
		},
		"a value that the database refuses": {
			err:    fmt.Errorf("insert: %w", &mysql.MySQLError{Number: 1366, Message: "Incorrect string value"}),
			status: http.StatusBadRequest, logged: true,
			detail: "the request has a value that cannot be stored: too long, out of range or with invalid characters",
		},
		"anything else, without its reason": {
			err:    errors.New("secret"),
			status: http.StatusInternalServerError, logged: true,
			detail: "something broke on the server; its log has the reason under the correlation id",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			handler := rest.Handler(func() *slog.Logger { return slog.New(slog.NewJSONHandler(&log, nil)) },
				func(w http.ResponseWriter, r *http.Request) error {
					rest.Correlation(w, r, func() string { return "flow-1" })
					return c.err
				})
			w := httptest.NewRecorder()
			handler(w, httptest.NewRequest(http.MethodGet, "/path", nil))

			assert.Equal(t, c.status, w.Code)
			assert.Equal(t, c.retryAfter, w.Header().Get("Retry-After"))
			assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			want, err := json.Marshal(map[string]any{"type": "about:blank", "title": http.StatusText(c.status), "status": c.status, "detail": c.detail})
			require.NoError(t, err)
			assert.JSONEq(t, string(want), w.Body.String())
			assert.Equal(t, c.logged, log.Len() > 0)
			if c.logged {
				var line map[string]any
				require.NoError(t, json.Unmarshal(log.Bytes(), &line))
				assert.Equal(t, "flow-1", line["correlation_id"])
				assert.Equal(t, c.err.Error(), line["error"])
			}
		})
	}
}

func TestHandlerBoundsTheTimeOfARequest(t *testing.T) {
	var left time.Duration
	rest.Handler(discard, func(_ http.ResponseWriter, r *http.Request) error {
		deadline, ok := r.Context().Deadline()
		assert.True(t, ok)
		left = time.Until(deadline)
		return nil
	})(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Greater(t, left, 5*time.Second)
	assert.LessOrEqual(t, left, 10*time.Second)
}

func TestInvalidNamesEveryField(t *testing.T) {
	problem := rest.Invalid(fmt.Errorf("decode: %w", strictjson.Violations{{Field: "a", Detail: "is required"}, {Field: "b[0].c", Detail: "must be 1 to 2"}}))
	text, err := json.Marshal(problem)
	require.NoError(t, err)
	assert.JSONEq(t, `{"type":"about:blank","title":"Bad Request","status":400,"detail":"the fields named under errors were refused",
		"errors":[{"field":"a","detail":"is required"},{"field":"b[0].c","detail":"must be 1 to 2"}]}`, string(text))
}

func TestNotAllowedListsTheMethods(t *testing.T) {
	w := httptest.NewRecorder()
	rest.Handler(discard, rest.NotAllowed("GET, POST"))(w, httptest.NewRequest(http.MethodPut, "/", nil))
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
	assert.Equal(t, "GET, POST", w.Header().Get("Allow"))
}

func TestJSONLeavesLinksReadable(t *testing.T) {
	w := httptest.NewRecorder()
	require.NoError(t, rest.JSON(w, http.StatusCreated, map[string]string{"next": "/x?a=1&b=2"}))
	assert.Equal(t, http.StatusCreated, w.Code)
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(t, `{"next":"/x?a=1&b=2"}`+"\n", w.Body.String())
	require.Error(t, rest.JSON(httptest.NewRecorder(), http.StatusOK, func() {}))
}
