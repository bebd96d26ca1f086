package inventoryapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

// change is a row of stock_log.
type change struct {
	SKU               string
	Delta             int
	Reason            string
	Available, Before int
	CorrelationID     string
	At                time.Time
}

func lastChange(t *testing.T, f *Function) (c change) {
	t.Helper()
	require.NoError(t, f.DB.QueryRowContext(t.Context(),
		"SELECT sku, delta, reason, available_after, available_after - delta, correlation_id, created_at FROM stock_log ORDER BY id DESC LIMIT 1").
		Scan(&c.SKU, &c.Delta, &c.Reason, &c.Available, &c.Before, &c.CorrelationID, &c.At))
	return c
}

func TestPutMakesASKU(t *testing.T) {
	f := New()
	now := time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, nil)

	w := put(t, f, "SKU-123", `{"availableQty":100}`, "X-Correlation-ID", "flow-1")

	answered(t, w, http.StatusCreated, `"1"`, `{"sku":"SKU-123","availableQty":100,"reservedQty":0}`)
	assert.Equal(t, "/api/inventory/SKU-123", w.Header().Get("Location"))
	assert.Equal(t, change{"SKU-123", 100, "set", 100, 0, "flow-1", now}, lastChange(t, f))
	answered(t, send(t.Context(), f, http.MethodGet, "/api/inventory/SKU-123", ""), http.StatusOK, `"1"`, w.Body.String())
}

func TestPutSetsTheUnitsThatAreFreeAndLogsTheDifference(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 3, 4)
	for _, c := range []struct {
		body, etag string
		delta      int
	}{
		{`{"availableQty":25}`, `"5"`, 15},
		{`{"availableQty":0}`, `"6"`, -25},
		{`{"availableQty":0}`, `"7"`, 0},
		{`{"availableQty":1000000000000}`, `"8"`, 1_000_000_000_000},
	} {
		w := put(t, f, "A", c.body)
		answered(t, w, http.StatusOK, c.etag, `{"sku":"A","reservedQty":3,`+c.body[1:])
		assert.Empty(t, w.Header().Get("Location"))
		assert.Equal(t, c.delta, lastChange(t, f).Delta)
	}
	assert.Equal(t, 4, changes(t, f))
}

func TestAdjustmentsAddAndTakeUnits(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 3, 4)
	answered(t, adjust(t, f, "A", `{"delta":5,"reason":"returned by a customer"}`), http.StatusOK, `"5"`, `{"sku":"A","availableQty":15,"reservedQty":3}`)
	assert.Equal(t, "returned by a customer", lastChange(t, f).Reason)
	answered(t, adjust(t, f, "A", `{"delta":-15,"reason":"разбито 💥"}`), http.StatusOK, `"6"`, `{"sku":"A","availableQty":0,"reservedQty":3}`)
	assert.Equal(t, "разбито 💥", lastChange(t, f).Reason)
	assert.Equal(t, -15, lastChange(t, f).Delta)
	refused(t, http.StatusNotFound, adjust(t, f, "B", `{"delta":5,"reason":"found"}`))
	assert.Equal(t, 2, changes(t, f))
}

func TestALevelStaysWithinItsBounds(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 3, 4)
	for name, delta := range map[string]string{"below zero": "-11", "too high": "999999999991"} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, refused(t, http.StatusConflict, adjust(t, f, "A", `{"delta":`+delta+`,"reason":"x"}`, "Idempotency-Key", "k")).Detail, "10 units")
		})
	}
	assert.Zero(t, changes(t, f))
	w := adjust(t, f, "A", `{"delta":999999999990,"reason":"x"}`, "Idempotency-Key", "k")
	answered(t, w, http.StatusOK, `"5"`, `{"sku":"A","availableQty":1000000000000,"reservedQty":3}`)
	assert.Empty(t, w.Header().Get("Idempotency-Replayed"), "a refused request leaves no key")
}

func TestChangesHeedIfMatch(t *testing.T) {
	for name, c := range map[string]struct {
		tags []string
		ok   bool
	}{
		"the tag":                 {[]string{`"4"`}, true},
		"any":                     {[]string{"*"}, true},
		"one of a list":           {[]string{`"1", "4"`}, true},
		"one of two lines":        {[]string{`"1"`, `"4"`}, true},
		"an older tag":            {[]string{`"3"`}, false},
		"a weak tag":              {[]string{`W/"4"`}, false}, // RFC 9110, 13.1.1: the strong comparison
		"a tag without quotes":    {[]string{`4`}, false},
		"a tag that has it in it": {[]string{`"44"`}, false},
		"an empty one":            {[]string{``}, false},
	} {
		for kind, change := range kinds {
			t.Run(kind+" "+name, func(t *testing.T) {
				f := start(t)
				stock(t, f, "A", 10, 0, 4)
				var headers []string
				for _, tag := range c.tags {
					headers = append(headers, "If-Match", tag)
				}
				w := change.send(t, f, "A", change.body, headers...)
				if c.ok {
					answered(t, w, http.StatusOK, `"5"`, `{"sku":"A","availableQty":0,"reservedQty":0}`)
					return
				}
				refused(t, http.StatusPreconditionFailed, w)
				assert.Zero(t, changes(t, f))
			})
		}
	}
	t.Run("a SKU that there is not", func(t *testing.T) {
		f := start(t)
		refused(t, http.StatusPreconditionFailed, put(t, f, "A", `{"availableQty":20}`, "If-Match", "*"))
		// RFC 9110, 13.2.1: a precondition is ignored if the request fails without it.
		refused(t, http.StatusNotFound, adjust(t, f, "A", `{"delta":1,"reason":"found"}`, "If-Match", "*"))
		assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inventory"))
	})
	t.Run("before the units are counted", func(t *testing.T) {
		f := start(t)
		stock(t, f, "A", 10, 0, 4)
		refused(t, http.StatusPreconditionFailed, adjust(t, f, "A", `{"delta":-11,"reason":"lost"}`, "If-Match", `"3"`))
	})
}

func TestPutWithIfNoneMatchMakesASKUAndChangesNone(t *testing.T) {
	f := start(t)
	answered(t, put(t, f, "A", `{"availableQty":20}`, "If-None-Match", "*", "Idempotency-Key", "k"), http.StatusCreated, `"1"`, `{"sku":"A","availableQty":20,"reservedQty":0}`)
	again := put(t, f, "A", `{"availableQty":20}`, "If-None-Match", "*", "Idempotency-Key", "k")
	answered(t, again, http.StatusCreated, `"1"`, `{"sku":"A","availableQty":20,"reservedQty":0}`)
	assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"), "the first answer, not one about the created SKU")

	for name, tag := range map[string]string{"any": "*", "the tag": `"1"`, "the tag in a list": `"7", "1"`, "the tag, weak": `W/"1"`} {
		assert.Contains(t, refused(t, http.StatusPreconditionFailed, put(t, f, "A", `{"availableQty":30}`, "If-None-Match", tag)).Detail, "exists already", name)
	}
	refused(t, http.StatusPreconditionFailed, adjust(t, f, "A", `{"delta":1,"reason":"found"}`, "If-None-Match", "*"))
	refused(t, http.StatusPreconditionFailed, put(t, f, "B", `{"availableQty":30}`, "If-None-Match", "*", "If-Match", "*"))
	assert.Equal(t, 1, changes(t, f))
	answered(t, put(t, f, "A", `{"availableQty":30}`, "If-None-Match", `"7"`), http.StatusOK, `"2"`, `{"sku":"A","availableQty":30,"reservedQty":0}`)
}

func TestOfParallelPutsWithIfNoneMatchOneMakesTheSKU(t *testing.T) {
	f := start(t)
	statuses := make([]int, 20)
	functiontest.Concurrently(len(statuses), func(i int) {
		statuses[i] = put(t, f, "A", `{"availableQty":20}`, "If-None-Match", "*").Code
	})
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	assert.Equal(t, map[int]int{http.StatusCreated: 1, http.StatusPreconditionFailed: 19}, count)
	assert.Equal(t, 1, changes(t, f))
}

func TestOfParallelPutsWithOneTagOneIsCarriedOut(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 0, 4)
	statuses := make([]int, 20)
	functiontest.Concurrently(len(statuses), func(i int) {
		statuses[i] = put(t, f, "A", `{"availableQty":20}`, "If-Match", `"4"`).Code
	})
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	assert.Equal(t, map[int]int{http.StatusOK: 1, http.StatusPreconditionFailed: 19}, count)
}

func TestParallelPutsMakeOneSKU(t *testing.T) {
	f := start(t)
	statuses := make([]int, 20)
	functiontest.Concurrently(len(statuses), func(i int) { statuses[i] = put(t, f, "A", `{"availableQty":20}`).Code })
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	assert.Equal(t, map[int]int{http.StatusCreated: 1, http.StatusOK: 19}, count)
	assert.Equal(t, 20, changes(t, f))
	assert.Equal(t, 20, mysqltest.Count(t, f.DB, "SELECT SUM(delta) FROM stock_log"))
}

func TestParallelAdjustmentsNeverOversell(t *testing.T) {
	f := start(t)
	put(t, f, "A", `{"availableQty":10}`)
	statuses := make([]int, 50)
	functiontest.Concurrently(len(statuses), func(i int) { statuses[i] = adjust(t, f, "A", `{"delta":-1,"reason":"lost"}`).Code })
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	assert.Equal(t, map[int]int{http.StatusOK: 10, http.StatusConflict: 40}, count)
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT available_qty FROM inventory WHERE sku = 'A'"))
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT SUM(delta) FROM stock_log"))
}

func TestBadBodiesAreRefusedWithEveryFieldNamed(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 0, 1)
	type bad struct {
		body   string
		fields []string
	}
	everywhere := map[string]bad{
		"an empty body":    {" ", []string{""}},
		"broken JSON":      {`{"availableQty":`, []string{""}},
		"two documents":    {"{}{}", []string{""}},
		"null":             {"null", []string{""}},
		"a list":           {"[]", []string{""}},
		"not UTF-8":        {"{\"reason\":\"\xff\"}", []string{""}},
		"half a surrogate": {`{"reason":"\ud800"}`, []string{"reason"}},
	}
	for kind, c := range map[string]struct {
		send func(body string) problem
		bad  map[string]bad
	}{
		"put": {
			func(body string) problem {
				return refused(t, http.StatusBadRequest, put(t, f, "A", body, "Idempotency-Key", "k"))
			},
			map[string]bad{
				"everything at once": {`{"availableQty":-1,"delta":3,"AvailableQty":4}`, []string{"availableQty", "delta", "AvailableQty"}},
				"nothing":            {`{}`, []string{"availableQty"}},
				"a null":             {`{"availableQty":null}`, []string{"availableQty"}},
				"negative":           {`{"availableQty":-1}`, []string{"availableQty"}},
				"too high":           {`{"availableQty":1000000000001}`, []string{"availableQty"}},
				"beyond int64":       {`{"availableQty":9223372036854775808}`, []string{"availableQty"}},
				"decimals":           {`{"availableQty":1.5}`, []string{"availableQty"}},
				"an exponent":        {`{"availableQty":1e-3}`, []string{"availableQty"}},
				"a text":             {`{"availableQty":"5"}`, []string{"availableQty"}},
				"a boolean":          {`{"availableQty":true}`, []string{"availableQty"}},
				"given twice":        {`{"availableQty":1,"availableQty":2}`, []string{"availableQty"}},
				"reserved units":     {`{"availableQty":1,"reservedQty":0}`, []string{"reservedQty"}},
			},
		},
		"adjust": {
			func(body string) problem {
				return refused(t, http.StatusBadRequest, adjust(t, f, "A", body, "Idempotency-Key", "k"))
			},
			map[string]bad{
				"everything at once":      {`{"delta":0,"reason":"","sku":"B"}`, []string{"delta", "reason", "sku"}},
				"nothing":                 {`{}`, []string{"delta", "reason"}},
				"nulls":                   {`{"delta":null,"reason":null}`, []string{"delta", "reason"}},
				"zero":                    {`{"delta":0,"reason":"x"}`, []string{"delta"}},
				"minus zero":              {`{"delta":-0,"reason":"x"}`, []string{"delta"}},
				"too high":                {`{"delta":1000000000001,"reason":"x"}`, []string{"delta"}},
				"too low":                 {`{"delta":-1000000000001,"reason":"x"}`, []string{"delta"}},
				"the lowest int64":        {`{"delta":-9223372036854775808,"reason":"x"}`, []string{"delta"}},
				"below int64":             {`{"delta":-9223372036854775809,"reason":"x"}`, []string{"delta"}},
				"half a unit":             {`{"delta":0.5,"reason":"x"}`, []string{"delta"}},
				"a text":                  {`{"delta":"5","reason":"x"}`, []string{"delta"}},
				"a reason of 65":          {`{"delta":1,"reason":"` + strings.Repeat("ä", 65) + `"}`, []string{"reason"}},
				"a reason of two lines":   {`{"delta":1,"reason":"a\nb"}`, []string{"reason"}},
				"a reason with NUL":       {`{"delta":1,"reason":"\u0000"}`, []string{"reason"}},
				"a reason that is 5":      {`{"delta":1,"reason":5}`, []string{"reason"}},
				"a field in other case":   {`{"Delta":1,"reason":"x"}`, []string{"delta", "Delta"}},
				"a field that is unknown": {`{"delta":1,"reason":"x","availableQty":1}`, []string{"availableQty"}},
			},
		},
	} {
		for name, b := range everywhere {
			c.bad[name] = b
		}
		for name, b := range c.bad {
			t.Run(kind+" "+name, func(t *testing.T) {
				var fields []string
				for _, e := range c.send(b.body).Errors {
					fields = append(fields, e.Field)
					assert.NotEmpty(t, e.Detail)
				}
				assert.ElementsMatch(t, b.fields, fields)
			})
		}
	}
	assert.Zero(t, changes(t, f))
	assert.Equal(t, 10, mysqltest.Count(t, f.DB, "SELECT available_qty FROM inventory"))
}

func TestBodiesAreBoundedAndJSON(t *testing.T) {
	f := start(t)
	stock(t, f, "A", 10, 0, 1)
	for path, body := range map[string]string{"/api/inventory/A": `{"availableQty":5}`, "/api/inventory/A/adjustments": `{"delta":5,"reason":"found"}`} {
		method := http.MethodPut
		if strings.HasSuffix(path, "adjustments") {
			method = http.MethodPost
		}
		padded := body + strings.Repeat(" ", 1<<20-len(body))
		require.Equal(t, http.StatusOK, send(t.Context(), f, method, path, padded).Code)
		refused(t, http.StatusRequestEntityTooLarge, send(t.Context(), f, method, path, padded+" "))
		for _, media := range []string{"", "text/plain", "application/merge-patch+json", "application/json; charset=latin1"} {
			refused(t, http.StatusUnsupportedMediaType, send(t.Context(), f, method, path, "", "Content-Type", media))
		}
		refused(t, http.StatusUnsupportedMediaType, send(t.Context(), f, method, path, body, "Content-Encoding", "gzip"))
	}
	assert.Equal(t, 2, changes(t, f))
}

// Any body either changes the level or is refused as the sender's mistake.
func FuzzChange(f *testing.F) {
	function := start(f)
	stock(f, function, "A", 1_000_000, 0, 1)
	for _, body := range []string{
		`{"availableQty":5}`, `{"availableQty":-0}`, `{"delta":-5,"reason":"lost"}`, `{"delta":5,"reason":"\ud83d\ude00"}`,
		`{"delta":-1000000000000,"reason":" "}`, `{}`, `null`, "{\"reason\":\"\x00\"}",
	} {
		f.Add(true, "", body)
		f.Add(false, "k", body)
	}
	f.Fuzz(func(t *testing.T, whole bool, key, body string) {
		var headers []string
		if key != "" {
			headers = []string{"Idempotency-Key", key, "If-Match", key, "X-Correlation-ID", key}
		}
		send := adjust
		if whole {
			send = put
		}
		w := send(t, function, "A", body, append(headers, "Content-Type", "application/json")...)
		assert.Less(t, w.Code, 500, w.Body.String())
		assert.True(t, w.Code == http.StatusOK || w.Code >= 400, w.Body.String())
		assert.GreaterOrEqual(t, mysqltest.Count(t, function.DB, "SELECT available_qty FROM inventory WHERE sku = 'A'"), 0)
	})
}
