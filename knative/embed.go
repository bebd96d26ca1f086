// Package knative reads the wiring from the manifests in base/ and in overlays/: topics, consumer groups, retries, dead
// letters, schedules and the environment of every function, checked against the rules that keep events safe.
package knative

import (
	"embed"
	"io/fs"
)

// Only the overlays that the harness can act out are embedded. The others are the settings of clusters.
//
//go:embed base/*.yaml components/payment/*.yaml components/relays-off/*.yaml components/relays-off-payment/*.yaml components/cdc/*.yaml components/cdc-payment/*.yaml
//go:embed overlays/payment/*.yaml overlays/cdc/*.yaml overlays/cdc-payment/*.yaml
var manifests embed.FS

// Manifests returns the embedded folders base/, components/ and overlays/.
func Manifests() fs.FS { return manifests }

// Base returns the deployed folder base/, with kustomization.yaml at its top.
func Base() fs.FS {
	base, err := fs.Sub(manifests, "base")
	if err != nil {
		panic(err) // only an invalid name does that, and it is a constant
	}
	return base
}
