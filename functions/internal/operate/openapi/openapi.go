// Package openapi has the OpenAPI 3.1 description of the REST API. The embedded source is YAML; clients get JSON.
package openapi

import (
	_ "embed"
	"net/http"
	"sync"

	"sigs.k8s.io/yaml"
)

//go:embed openapi.yaml
var source []byte

// JSON returns the description.
var JSON = FromYAML(source)

// FromYAML returns a func that returns a description in YAML as JSON. It panics if that is no YAML, or has a field twice.
func FromYAML(source []byte) func() []byte {
	return sync.OnceValue(func() []byte {
		text, err := yaml.YAMLToJSONStrict(source)
		if err != nil {
			panic(err) // it is embedded
		}
		return text
	})
}

// Handler serves the description.
func Handler(w http.ResponseWriter, r *http.Request) { Serve(JSON)(w, r) }

// Serve returns the handler that serves a description.
func Serve(description func() []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "application/json")
		header.Set("Cache-Control", "no-cache")
		header.Set("Access-Control-Allow-Origin", "*") // so that tools on other sites can read it
		_, _ = w.Write(description())                  // it fails only if the client is gone
	}
}
