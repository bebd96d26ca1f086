// Package avro has the Avro form of the events' data: a schema for each published version of a fact, and the conversion
// between the JSON of an event and Avro's binary encoding. The Avro form has all fields of the JSON but eventType, which the
// attributes of an event have. generate_test.go writes the schemas from the JSON Schemas.
package avro

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/twmb/avro"

	"example.com/orders/events"
)

//go:embed *.avsc
var files embed.FS

// Schema is the Avro schema of one version of a fact.
type Schema struct {
	events.Contract
	// Text is the schema as it is registered.
	Text string

	parsed *avro.Schema
	root   *avro.SchemaNode
}

// versionField is the field that says in which version the data was written, in every schema.
const versionField = "version"

// all are the schemas, sorted by type and version.
var all = sync.OnceValue(func() []Schema {
	var schemas []Schema
	for _, c := range events.Contracts() {
		text, err := fs.ReadFile(files, File(c))
		if err != nil {
			panic(err) // a test compares the files with the contracts
		}
		parsed := avro.MustParse(string(text))
		schemas = append(schemas, Schema{Contract: c, Text: string(text), parsed: parsed, root: parsed.Root()})
	}
	return schemas
})

// Schemas returns the schemas of all published versions of all facts, sorted by type and version.
func Schemas() []Schema { return all() }

// Files returns the schemas as files, see File.
func Files() fs.FS { return files }

// File returns the name of the schema's file of a contract.
func File(c events.Contract) string { return strings.TrimSuffix(c.File, ".json") + ".avsc" }

// find returns the schema of a version of a type.
func find(eventType string, version int64) (Schema, bool) {
	for _, s := range all() {
		if s.Type == eventType && int64(s.Version) == version {
			return s, true
		}
	}
	return Schema{}, false
}

// ErrUnknownField means that data has a field that its schema does not have, so that Avro would lose it.
var ErrUnknownField = errors.New("the schema has no such field")

// Encode returns the Avro form of the JSON data of a fact, and the schema that it is written with: that of the version in the
// data. It does not check the bounds of the data.
func Encode(eventType string, data []byte) (Schema, []byte, error) {
	fields, version, err := parse(eventType, data)
	if err != nil {
		return Schema{}, nil, fmt.Errorf("encode %s as Avro: %w", eventType, err)
	}
	s, known := find(eventType, version)
	if !known {
		return Schema{}, nil, fmt.Errorf("encode %s as Avro: version %d has no schema", eventType, version)
	}
	if err := s.complete(fields); err != nil {
		return Schema{}, nil, fmt.Errorf("encode %s as Avro: %w", eventType, err)
	}
	encoded, err := s.parsed.Encode(fields)
	if err != nil {
		return Schema{}, nil, fmt.Errorf("encode %s as Avro: %w", eventType, err)
	}
	return s, encoded, nil
}

// Reader reads data of one type that was written with one schema. Many goroutines may use it.
type Reader struct {
	eventType string
	writer    *avro.Schema
	head      *avro.Schema // reads the version only

	mu       sync.RWMutex
	versions map[int64]version // by version, as far as they were needed
}

// version reads the data of one version.
type version struct {
	Schema
	resolved *avro.Schema
}

// NewReader returns a reader of data that was written with a schema, which may be another than those of this package: it may
// have more fields, which are left out, and lack those that have a default. It fails if the schema is none of Avro, or if its
// data says no version.
func NewReader(eventType, writer string) (*Reader, error) {
	newest, known := find(eventType, int64(newestOf(eventType)))
	if !known {
		return nil, fmt.Errorf("no fact has the type %q", eventType)
	}
	parsed, err := avro.Parse(writer)
	if err != nil {
		return nil, fmt.Errorf("the schema is none of Avro: %w", err)
	}
	head, err := avro.Parse(fmt.Sprintf(`{"type":"record","name":%q,"namespace":%q,"fields":[{"name":%q,"type":"long"}]}`,
		newest.root.Name, newest.root.Namespace, versionField))
	if err != nil {
		return nil, err
	}
	resolved, err := avro.Resolve(parsed, head)
	if err != nil {
		return nil, fmt.Errorf("the schema is none of %s: %w", eventType, err)
	}
	return &Reader{eventType: eventType, writer: parsed, head: resolved, versions: map[int64]version{}}, nil
}

func newestOf(eventType string) int {
	newest := 0
	for _, s := range all() {
		if s.Type == eventType && s.Newest {
			newest = s.Version
		}
	}
	return newest
}

// JSON returns the JSON of data, with the fields of the version in which it was written. Data of a version that this program
// does not know becomes an object with nothing but type and version, by which events.Decode finds that out.
func (r *Reader) JSON(data []byte) ([]byte, error) {
	var head struct {
		Version int64 `avro:"version"`
	}
	rest, err := r.head.Decode(data, &head)
	if err != nil {
		return nil, fmt.Errorf("decode %s from Avro: %w", r.eventType, err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("decode %s from Avro: %d bytes follow the data", r.eventType, len(rest))
	}
	v, known, err := r.version(head.Version)
	if err != nil {
		return nil, fmt.Errorf("decode %s from Avro: %w", r.eventType, err)
	}
	if !known {
		return fmt.Appendf(nil, `{"eventType":%q,"version":%d}`, r.eventType, head.Version), nil
	}
	var fields any
	if _, err := v.resolved.Decode(data, &fields); err != nil {
		return nil, fmt.Errorf("decode %s from Avro: %w", r.eventType, err)
	}
	text := fmt.Appendf(make([]byte, 0, 4*len(data)), `{"eventType":%q`, r.eventType)
	return appendObject(text, v.root, fields)
}

func (r *Reader) version(n int64) (v version, known bool, err error) {
	r.mu.RLock()
	v, known = r.versions[n]
	r.mu.RUnlock()
	if known {
		return v, true, nil
	}
	if v.Schema, known = find(r.eventType, n); !known {
		return v, false, nil
	}
	if v.resolved, err = avro.Resolve(r.writer, v.parsed); err != nil {
		return v, true, fmt.Errorf("the schema does not fit version %d: %w", n, err)
	}
	r.mu.Lock()
	r.versions[n] = v
	r.mu.Unlock()
	return v, true, nil
}
