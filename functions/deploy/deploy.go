// Package deploy makes of a function what func deploys. A function of a folder goes in; the same function as func's runtime
// serves it comes out. Only the root package of a staged function calls it, from where the internal packages are out of
// reach.
package deploy

import (
	"os"
	"strings"

	"example.com/orders/functions/internal/function/host"
)

// Function is a function behind the reader of events.
type Function = host.Function

// New returns f as it is deployed. It panics for what is no function.
func New(f any) *Function {
	dropReferences()
	served, err := host.New(f)
	if err != nil {
		panic(err)
	}
	return served
}

// dropReferences unsets variables that are no more than a reference. func writes the values of func.yaml into the image as
// they stand: "{{ configMap:orders-mail:smtp-addr }}" would be taken for the value where neither the cluster nor the command
// line gives another one.
func dropReferences() {
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(value, "{{") {
			_ = os.Unsetenv(name) // a name that the environment has can be unset
		}
	}
}
