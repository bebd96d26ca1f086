// Package deploy makes of a function what func deploys. A function of a folder goes in; the same function as func's runtime
// serves it comes out. Only the root package of a staged function calls it, from where the internal packages are out of
// reach.
package deploy

import "example.com/orders/functions/internal/host"

// Function is a function behind the reader of events.
type Function = host.Function

// New returns f as it is deployed. It panics for what is no function.
func New(f any) *Function {
	served, err := host.New(f)
	if err != nil {
		panic(err)
	}
	return served
}
