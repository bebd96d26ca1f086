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
var JSON = sync.OnceValue(func() []byte {
	text, err := yaml.YAMLToJSONStrict(source)
	if err != nil {
		panic(err) // it is embedded
	}
	return text
})

// Handler serves the description.
func Handler(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-cache")
	header.Set("Access-Control-Allow-Origin", "*") // so that tools on other sites can read it
	_, _ = w.Write(JSON())                         // it fails only if the client is gone
}
