package deploy

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/tracing"
)

type function struct{}

func (function) Handle(context.Context, event.Event) error { return nil }

func TestADeployedFunctionCollectsItsHeapSeldomUnlessTheEnvironmentSaysOtherwise(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })

	t.Setenv("GOGC", "100")
	t.Setenv("GOMEMLIMIT", "1GiB")
	New(function{})
	assert.Equal(t, []int64{100, limit}, []int64{int64(debug.SetGCPercent(100)), debug.SetMemoryLimit(-1)})

	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	New(function{})
	assert.Equal(t, []int64{gcPercent, memoryLimit}, []int64{int64(debug.SetGCPercent(100)), debug.SetMemoryLimit(-1)})
}

func TestADeployedFunctionRunsOnOneProcessorUnlessTheEnvironmentSaysOtherwise(t *testing.T) {
	before := runtime.GOMAXPROCS(3)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })

	t.Setenv("GOMAXPROCS", "3")
	New(function{})
	assert.Equal(t, 3, runtime.GOMAXPROCS(0))

	t.Setenv("GOMAXPROCS", "")
	New(function{})
	assert.Equal(t, 1, runtime.GOMAXPROCS(0))
}

func TestADeployedFunctionLogsInJSONWithTheAttempt(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	terminal, before := os.Stderr, slog.Default()
	t.Cleanup(func() { os.Stderr = terminal; slog.SetDefault(before); assert.NoError(t, file.Close()) })
	os.Stderr = file

	New(function{})
	begin := time.Now()
	slog.InfoContext(tracing.WithAttempt(t.Context(), 3), "event handled", "function", "notify")

	text, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	var line struct {
		Time       time.Time
		Msg, Level string
		Function   string
		Attempt    int
	}
	require.NoError(t, json.Unmarshal(text, &line), string(text))
	assert.Equal(t, []any{"event handled", "INFO", "notify", 3}, []any{line.Msg, line.Level, line.Function, line.Attempt})
	assert.WithinRange(t, line.Time, begin, time.Now())
}
