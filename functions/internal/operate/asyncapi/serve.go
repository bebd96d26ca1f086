package asyncapi

import (
	"encoding/json"
	"io/fs"
	"net/http"

	"example.com/orders/events"
	"example.com/orders/functions/internal/web/rest"
)

// schemasAt is the path of the JSON Schemas. It is that of their $id, and of the dataschema of events, so that a schema is
// found under its URI at any host that serves them.
const schemasAt = "/orders/schemas/"

// listed is a JSON Schema in the list.
type listed struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
	Source  string `json:"source"`
	Newest  bool   `json:"newest"`
	ID      string `json:"id"`   // its $id, and the dataschema of its events
	Path    string `json:"path"` // where it is served
}

// Register serves a document at /asyncapi.json, the JSON Schemas of all events at the paths of their URIs, and their list at
// /schemas/.
func Register(mux rest.Mux, d Document) {
	mux.HandleFunc("GET /asyncapi.json", Handler(d))
	RegisterSchemas(mux)
}

// Handler serves a document.
func Handler(d Document) http.HandlerFunc {
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // it has only what JSON has
	}
	return serve("application/json", text)
}

// RegisterSchemas serves the JSON Schemas of all events, and their list.
func RegisterSchemas(mux rest.Mux) {
	contracts := []listed{}
	for _, c := range events.Contracts() {
		contracts = append(contracts, listed{c.Type, c.Version, c.Source, c.Newest, c.URI, schemasAt + c.File})
	}
	list, err := json.Marshal(contracts)
	if err != nil {
		panic(err) // as above
	}
	mux.HandleFunc("GET /schemas/{$}", serve("application/json", list))
	mux.HandleFunc("GET "+schemasAt+"{file}", func(w http.ResponseWriter, r *http.Request) {
		schema, err := fs.ReadFile(events.Schemas(), r.PathValue("file"))
		if err != nil {
			rest.Handler(nil, rest.NotFound)(w, r)
			return
		}
		serve("application/schema+json", schema)(w, r)
	})
}

// serve answers with a description, which tools of other sites may read.
func serve(media string, text []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", media)
		header.Set("Cache-Control", "no-cache")
		header.Set("Access-Control-Allow-Origin", "*")
		_, _ = w.Write(text) // it fails only if the client is gone
	}
}
