// Package knative reads the wiring from the manifests in base/: topics, consumer groups, retries, dead letters, schedules
// and the environment of every function, checked against the rules that keep events safe.
package knative

import (
	"embed"
	"io/fs"
)

//go:embed base/*.yaml
var manifests embed.FS

// Base returns the deployed folder base/, with kustomization.yaml at its top.
func Base() fs.FS {
	base, err := fs.Sub(manifests, "base")
	if err != nil {
		panic(err) // only an invalid name does that, and it is a constant
	}
	return base
}
