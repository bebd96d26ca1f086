package main

import (
	"database/sql"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/operate/console"
	"example.com/orders/knative"
)

func TestProfilesAreServedWhenTheyAreAskedFor(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	page, err := console.New(console.Options{
		Wiring: &knative.Wiring{}, Metrics: exposition.New().Metrics, Log: log,
		Open: func(string) (*sql.DB, error) { return nil, nil }, //nolint:nilnil // the console is not used
	})
	require.NoError(t, err)
	h := &harness{metrics: exposition.New(), console: page, log: log, handlers: map[string]http.Handler{
		"orders-api": http.NotFoundHandler(), "inventory-api": http.NotFoundHandler(),
	}}
	for asked, want := range map[bool]int{true: http.StatusOK, false: http.StatusNotFound} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=0.1"} {
			answer := httptest.NewRecorder()
			h.routes(asked).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil))
			assert.Equal(t, want, answer.Code, "--pprof=%t %s", asked, path)
		}
	}
}

func TestTheHeapIsCollectedAsGOGCSays(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	collectSeldom(map[string]string{"GOGC": "100"})
	assert.Equal(t, 100, debug.SetGCPercent(100))
	collectSeldom(nil)
	assert.Equal(t, gcPercent, debug.SetGCPercent(100))
}
