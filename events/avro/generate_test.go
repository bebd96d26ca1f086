package avro

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

var update = flag.Bool("update", false, "write the schemas from the JSON Schemas")

func TestSchemasAreGeneratedFromTheJSONSchemas(t *testing.T) {
	var names []string
	var before *object
	for _, c := range events.Contracts() {
		if c.Version == 1 {
			before = nil
		}
		schema := read(t, c.File)
		want := avroOf(t, c.Type, schema, before)
		before = schema
		names = append(names, File(c))
		if *update {
			require.NoError(t, os.WriteFile(File(c), want, 0o644))
		}
		got, err := os.ReadFile(File(c))
		require.NoError(t, err, "write the schemas by: go test ./events/avro -update")
		assert.Equal(t, string(want), string(got), "%s: write the schemas by: go test ./events/avro -update", File(c))
	}
	there, err := fs.Glob(os.DirFS("."), "*.avsc")
	require.NoError(t, err)
	assert.ElementsMatch(t, names, there)
}

// object is a JSON Schema of an object, with its properties in their order.
type object struct {
	Description string   `json:"description"`
	Properties  ordered  `json:"properties"`
	Required    []string `json:"required"`
}

type property struct {
	Type   string          `json:"type"`
	Format string          `json:"format"`
	Const  json.RawMessage `json:"const"`
	Enum   []string        `json:"enum"`
	Items  *object         `json:"items"`
}

type ordered []member

type member struct {
	name string
	property
}

func (o *ordered) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		m := member{name: name.(string)}
		if err := decoder.Decode(&m.property); err != nil {
			return err
		}
		*o = append(*o, m)
	}
	return nil
}

func (o *object) has(name string) bool {
	return o != nil && slices.ContainsFunc(o.Properties, func(m member) bool { return m.name == name })
}

func read(t *testing.T, file string) *object {
	t.Helper()
	text, err := fs.ReadFile(events.Schemas(), file)
	require.NoError(t, err)
	o := &object{}
	require.NoError(t, json.Unmarshal(text, o))
	return o
}

type record struct {
	Type      string  `json:"type"`
	Name      string  `json:"name"`
	Namespace string  `json:"namespace,omitempty"`
	Doc       string  `json:"doc,omitempty"`
	Fields    []field `json:"fields"`
}

type field struct {
	Name    string `json:"name"`
	Type    any    `json:"type"`
	Default any    `json:"default,omitempty"`
}

// avroOf returns the Avro schema of a version. A field that the version before does not have gets a default, since readers
// with this schema must be able to read data of that version: an empty one, which means that nobody knows it. The names of
// the records have no version, for the same reason.
func avroOf(t *testing.T, eventType string, schema, before *object) []byte {
	t.Helper()
	words := strings.Split(eventType, ".")
	for i := range words {
		words[i] = upper(words[i])
	}
	r := recordOf(t, strings.Join(words, ""), schema, before)
	r.Namespace, r.Doc = "com.example.orders.events", schema.Description
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(r))
	return text.Bytes()
}

func upper(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

func recordOf(t *testing.T, name string, schema, before *object) record {
	t.Helper()
	r := record{Type: "record", Name: name}
	for _, m := range schema.Properties {
		if m.name == "eventType" {
			continue
		}
		f := field{Name: m.name}
		var empty any
		f.Type, empty = typeOf(t, name+upper(strings.TrimSuffix(m.name, "s")), m, earlier(before, m.name))
		if !slices.Contains(schema.Required, m.name) || before != nil && !before.has(m.name) {
			require.NotNil(t, empty, "%s of %s: a new field of this type has no empty value", m.name, name)
			f.Default = empty
		}
		r.Fields = append(r.Fields, f)
	}
	return r
}

// earlier returns the entries of a list in the version before.
func earlier(before *object, name string) *object {
	if before == nil {
		return nil
	}
	for _, m := range before.Properties {
		if m.name == name {
			return m.Items
		}
	}
	return nil
}

// typeOf returns the Avro type of a property, and its empty value if it has one.
func typeOf(t *testing.T, name string, m member, before *object) (avroType, empty any) {
	t.Helper()
	switch {
	case m.Format == "date-time":
		return map[string]string{"type": "long", "logicalType": "timestamp-micros"}, nil
	case m.Type == "integer", m.name == versionField:
		return "long", 0
	case m.Type == "string", m.Enum != nil:
		return "string", "" // no enum of Avro: it has no empty value, and the bounds are checked with those of JSON
	case m.Type == "array" && m.Items != nil:
		return struct {
			Type  string `json:"type"`
			Items record `json:"items"`
		}{"array", recordOf(t, name, m.Items, before)}, []any{}
	}
	require.Fail(t, fmt.Sprintf("%s: no Avro type is known for it", m.name))
	return nil, nil
}
