// Package openapitest validates answers of an HTTP API against its OpenAPI description.
package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/orders/functions/internal/operate/openapi"
)

// location is the name under which the schemas of the description are found.
const location = "openapi.json"

// Description is an OpenAPI description, as far as needed to check answers.
type Description struct {
	document any
	schemas  *jsonschema.Compiler
	mu       sync.Mutex // guards schemas
}

// Read reads a description in JSON. It panics if it cannot: descriptions are embedded.
func Read(text []byte) *Description {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	schemas := jsonschema.NewCompiler()
	schemas.DefaultDraft(jsonschema.Draft2020) // the draft of OpenAPI 3.1
	schemas.AssertFormat()
	if err := schemas.AddResource(location, document); err != nil {
		panic(err)
	}
	return &Description{document: document, schemas: schemas}
}

var ofREST = sync.OnceValue(func() *Description { return Read(openapi.JSON()) })

// Check is the method Check of the description of the REST API.
func Check(method string, to *url.URL, status int, header http.Header, body []byte) error {
	return ofREST().Check(method, to, status, header, body)
}

// Check returns an error unless the description has the answer to a request: its status, its headers and its body. A path
// that is not described, or a method that a path does not have, must be answered with a problem, which is 401 for who has not
// logged in. HEAD is answered like GET, with or without the body that a server leaves out.
func (d *Description) Check(method string, to *url.URL, status int, header http.Header, body []byte) error {
	bodiless := method == http.MethodHead && len(body) == 0
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path := to.EscapedPath() // an escaped slash does not separate segments
	pointer := d.find(method, path)
	if pointer == "" {
		if status != http.StatusNotFound && status != http.StatusMethodNotAllowed && (status != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "") {
			return fmt.Errorf("%s %s is not described, and was answered by %d", method, path, status)
		}
		return d.content("/components/responses/Problem", header, body)
	}
	response := fmt.Sprintf("%s/responses/%d", pointer, status)
	if d.at(response) == nil {
		return fmt.Errorf("%s %s: the answer %d is not described", method, path, status)
	}
	response = d.follow(response)
	err := d.headers(response, header)
	if !bodiless {
		err = errors.Join(err, d.content(response, header, body))
	}
	if err != nil {
		return fmt.Errorf("%s %s, answer %d: %w", method, path, status, err)
	}
	return nil
}

// find returns the JSON pointer of an operation, empty if there is none.
func (d *Description) find(method, path string) string {
	segments := strings.Split(path, "/")
	paths, _ := d.at("/paths").(map[string]any)
	for template := range paths {
		pattern := strings.Split(template, "/")
		if len(pattern) != len(segments) || !slices.EqualFunc(pattern, segments, func(p, s string) bool { return p == s || strings.HasPrefix(p, "{") }) {
			continue
		}
		pointer := "/paths/" + escape(template) + "/" + strings.ToLower(method)
		if d.at(pointer) != nil {
			return pointer
		}
	}
	return ""
}

// headers checks the described headers.
func (d *Description) headers(response string, header http.Header) error {
	all, _ := d.at(response + "/headers").(map[string]any)
	var errs []error
	for name := range all {
		pointer := d.follow(response + "/headers/" + escape(name))
		value := header.Get(name)
		if value == "" {
			if d.at(pointer+"/required") == true {
				errs = append(errs, fmt.Errorf("the header %s is missing", name))
			}
			continue
		}
		if err := d.validate(pointer+"/schema", value); err != nil {
			errs = append(errs, fmt.Errorf("the header %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// content checks the media type and the body.
func (d *Description) content(response string, header http.Header, body []byte) error {
	pointer := response + "/content/" + escape(header.Get("Content-Type"))
	if d.at(pointer) == nil {
		return fmt.Errorf("the content type %q is not described", header.Get("Content-Type"))
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the body %q: %w", body, err)
	}
	if err := d.validate(pointer+"/schema", value); err != nil {
		return fmt.Errorf("the body %s: %w", body, err)
	}
	return nil
}

func (d *Description) validate(pointer string, value any) error {
	d.mu.Lock()
	schema, err := d.schemas.Compile(location + "#" + pointer)
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("the schema at %s: %w", pointer, err)
	}
	return schema.Validate(value)
}

// follow resolves a pointer to a reference.
func (d *Description) follow(pointer string) string {
	object, _ := d.at(pointer).(map[string]any)
	if to, ok := object["$ref"].(string); ok {
		return strings.TrimPrefix(to, "#")
	}
	return pointer
}

// at returns the value at a JSON pointer, nil if there is none.
func (d *Description) at(pointer string) any {
	value := d.document
	for segment := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(segment)]
	}
	return value
}

// escape returns a key as a segment of a JSON pointer.
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }
