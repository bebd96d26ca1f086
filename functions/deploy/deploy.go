// Package deploy wraps a function in the form that func's runtime serves. The generated root package of a staged function
// calls it, since it cannot import the internal packages, and so does the harness for a function in its own process.
package deploy

import (
	"os"
	"strings"

	"example.com/orders/functions/internal/function/host"
)

// Function is a function behind the CloudEvents reader.
type Function = host.Function

// New returns f in the form to deploy. It panics if f is not a function.
func New(f any) *Function {
	dropReferences()
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
