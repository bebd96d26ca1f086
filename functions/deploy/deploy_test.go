package deploy

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
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
