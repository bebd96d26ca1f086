// Package deploy wraps a function in the form that func's runtime serves. The generated root package of a staged function
// calls it, since it cannot import the internal packages, and so does the harness for a function in its own process.
package deploy

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/observe/tracing"
)

// Function is a function behind the CloudEvents reader.
type Function = host.Function

// New returns f in the form to deploy. It panics if f is not a function.
func New(f any) *Function {
	dropReferences()
	collectSeldom()
	runOnOneProcessor()
	logInJSON()
	served, err := host.New(f)
	if err != nil {
		panic(err)
	}
	return served
}

// dropReferences unsets variables whose value is only a reference. func writes the values of func.yaml into the image
// unchanged: without a value from the cluster or the command line, a function would read "{{ configMap:orders-mail:smtp-addr
// }}" as the value.
func dropReferences() {
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(value, "{{") {
			_ = os.Unsetenv(name) // the environment has this name, so unsetting it cannot fail
		}
	}
}

const (
	// gcPercent is by how much the heap grows before it is collected. What lives in a function is a few MiB: four times Go's own
	// figure takes a fifth off its CPU under load, for some 8 MiB more.
	gcPercent = 400
	// memoryLimit is the size above which Go collects more often, below the 256 MiB that the manifests give a pod.
	memoryLimit = 192 << 20
)

// collectSeldom sets gcPercent and memoryLimit, unless GOGC and GOMEMLIMIT say something else.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// runOnOneProcessor runs Go code on one thread at a time, unless GOMAXPROCS says something else. The manifests give a pod one
// CPU, and Knative adds pods when that is not enough. Go itself would use two threads: a function mostly waits, and most events
// would wake the second one for nothing. Without it an event takes a tenth to a fifth less CPU.
func runOnOneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// logInJSON logs on standard error, a line of JSON for each record, as func's runtime does itself, with the trace of the event. Go's
// own log has no trace, and no time below a second.
func logInJSON() { slog.SetDefault(slog.New(tracing.Log(slog.NewJSONHandler(os.Stderr, nil)))) }
