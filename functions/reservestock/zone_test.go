package reservestock

import (
	"os"
	"os/exec"
	"testing"
	"time"
	_ "time/tzdata" // machines without a zone database would run in UTC

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/schema"
)

// A process reads its time zone once, at start, so the test runs itself again in Tokyo.
func TestStoredTimesAreUTCWhereverTheMachineIs(t *testing.T) {
	const zone = "Asia/Tokyo"
	server := mysqltest.Server(t)
	if os.Getenv("TZ") != zone {
		itself, err := os.Executable()
		require.NoError(t, err)
		again := exec.CommandContext(t.Context(), itself, "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), "TZ="+zone, "MYSQL_DSN="+server.DSN)
		out, err := again.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}
	at := time.Date(2026, 11, 26, 3, 0, 0, 123456000, time.Local)
	const want = "2026-11-25 18:00:00.123456"
	require.Equal(t, want, at.UTC().Format("2006-01-02 15:04:05.000000"))
	f := New()
	f.DB = mysqltest.Pool(t, server, schema.Inventory)
	f.Now = func() time.Time { return at }
	functiontest.Start(t, f, nil)

	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 1}), 1)))

	for _, of := range []struct{ table, column string }{
		{"reservations", "created_at"},
		{"reservations", "updated_at"},
		{"reservation_log", "created_at"},
		{"inbox", "processed_at"},
		{"outbox", "created_at"},
	} {
		var stored time.Time
		var text string // a text that no time zone of the connection or the process changes
		require.NoError(t, f.DB.QueryRowContext(t.Context(), "SELECT "+of.column+", CAST("+of.column+" AS CHAR) FROM "+of.table).Scan(&stored, &text))
		assert.Equal(t, at.UTC(), stored, "%v", of)
		assert.Equal(t, want, text, "%v", of)
	}
	emitted := outboxtest.Drain(t, f.DB)
	require.Len(t, emitted, 1)
	assert.Contains(t, string(emitted[0].Data()), `"createdAt":"2026-11-25T18:00:00.123456Z"`)
	assert.Equal(t, "2026-11-25T18:00:00.123456Z", emitted[0].Time().Format(time.RFC3339Nano))
	// The default clock of a function.
	f.Now = nil
	require.NoError(t, f.Start(t.Context(), nil))
	assert.Equal(t, time.UTC, f.Now().Location())
	assert.WithinDuration(t, time.Now(), f.Now(), time.Minute)
}
