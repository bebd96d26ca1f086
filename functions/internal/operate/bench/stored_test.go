package bench

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhenAConfirmationWasCommittedIsInTheLog(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	require.NoError(t, os.WriteFile(first, []byte(`panic: not JSON "outcome":"order.confirmed"
{"time":"2026-12-01T12:00:00.100000001Z","msg":"event handled","function":"finalize-order","order_id":"a","outcome":"order.confirmed"}
{"time":"2026-12-01T12:00:00.2Z","msg":"event handled","function":"reserve-stock","order_id":"b","outcome":"inventory.reserved"}
{"time":"2026-12-01T12:00:00.3Z","msg":"event handled","function":"notify","order_id":"c","outcome":"order.confirmed"}
{"time":"2026-12-01T12:00:00.4Z","msg":"event handled","function":"finalize-order","order_id":"d","outcome":"order.failed"}
{"time":"2026-12-01T12:00:00.5Z","msg":"event handled","function":"finalize-order","order_id":"a","outcome":"order.confirmed"}
{"time":"2026-12-01T12:00:00.6Z","msg":"event handled","function":"finalize-order","order_id":"f","outcome":"order.confirmed"`), 0o600))
	require.NoError(t, os.WriteFile(second, []byte(`{"time":"2026-12-01T12:00:00.7Z","msg":"event handled","function":"finalize-order","order_id":"e","outcome":"order.confirmed"}
`), 0o600))
	all := samples{{id: "a"}, {id: "b"}, {id: "c"}, {id: "d"}, {id: "e"}, {id: "f"}, {}}

	require.NoError(t, all.readStored([]string{first, second}, begin))

	var stored []time.Duration
	for _, s := range all {
		stored = append(stored, s.stored)
	}
	assert.Equal(t, []time.Duration{100*time.Millisecond + 1, 0, 0, 0, 700 * time.Millisecond, 0, 0}, stored)
	assert.ErrorIs(t, all.readStored([]string{filepath.Join(t.TempDir(), "none")}, begin), os.ErrNotExist)
}
