package events_test

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

// field is a field of a schema, in an example.
type field struct {
	path   string
	schema map[string]any
	// in returns the object of a document that has the field, and the field's name there.
	in       func(document map[string]any) (map[string]any, string)
	required bool
}

// fieldsIn lists the fields of a schema: those of entries of lists as of the first entry.
func fieldsIn(prefix string, schema map[string]any, in func(map[string]any) map[string]any) (all []field) {
	required, _ := schema["required"].([]any)
	for name, s := range schema["properties"].(map[string]any) {
		s := s.(map[string]any)
		all = append(all, field{prefix + name, s, func(d map[string]any) (map[string]any, string) { return in(d), name }, slices.Contains(required, any(name))})
		if entry, ok := s["items"].(map[string]any); ok {
			all = append(all, fieldsIn(prefix+name+".", entry, func(d map[string]any) map[string]any {
				return in(d)[name].([]any)[0].(map[string]any)
			})...)
		}
	}
	return all
}

func document(t *testing.T, name string) (d map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(golden(t, name), &d))
	return d
}

func schemaFile(t *testing.T, name string) (schema map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(readSchema(t, fileOf(name)), &schema))
	return schema
}

// optionalIn has the fields that may be left out.
func optionalIn(t *testing.T, name string) map[string]bool {
	t.Helper()
	optional := map[string]bool{}
	for _, f := range fieldsIn("", schemaFile(t, name), func(d map[string]any) map[string]any { return d }) {
		optional[f.path] = !f.required
	}
	return optional
}

// agree asserts that the Go type and the schema both take a document, or both refuse it.
func agree(t *testing.T, name string, compiled *jsonschema.Schema, d map[string]any, ok bool, msg string) {
	t.Helper()
	balance(d)
	data, err := json.Marshal(d)
	require.NoError(t, err)
	e := factOf(t, name, data)
	if id, isText := d["orderId"].(string); isText {
		e.SetSubject(id)
	}
	_, err = readers[name](e)
	assert.Equal(t, ok, err == nil, "the Go type, %s: %v", msg, err)
	err = checkSchema(t, compiled, data)
	assert.Equal(t, ok, err == nil, "the schema, %s: %v", msg, err)
}

// balance makes the items sum up to the total, which no schema can say: to a total that was changed, or else the total of
// what the items are now.
func balance(d map[string]any) {
	for _, name := range []string{"totalAmount", "amount"} {
		total, has := d[name]
		items, ok := d["items"].([]any)
		if !has || !ok {
			continue
		}
		if total, changed := total.(int64); changed && total >= 0 && total <= events.MaxTotal {
			line := func(quantity, price int64) map[string]any {
				return map[string]any{"sku": "SKU-1", "quantity": quantity, "unitPrice": price}
			}
			d["items"] = []any{line(1, total%events.MaxQuantity), line(events.MaxQuantity, total/events.MaxQuantity)}
		} else if !changed {
			if n, isNumber := d[name].(float64); isNumber && n == math.Trunc(n) {
				d[name] = sum(items)
			}
		}
	}
}

func sum(items []any) (total int64) {
	whole := func(v any) int64 {
		switch n := v.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
		return 0
	}
	for _, item := range items {
		if line, ok := item.(map[string]any); ok {
			total += whole(line["quantity"]) * whole(line["unitPrice"])
		}
	}
	return max(total, 0)
}

// Each value at a bound of the schema is one that the Go type takes, too, and each beyond it is one that both refuse.
func TestTheGoTypeHasTheBoundsOfItsSchema(t *testing.T) {
	for name := range samples {
		t.Run(name, func(t *testing.T) {
			schema, compiled := schemaFile(t, name), schemaOf(t, name)
			fields := fieldsIn("", schema, func(d map[string]any) map[string]any { return d })
			require.Greater(t, len(fields), 3)
			for _, f := range fields {
				object, at := f.in(document(t, name))
				require.Contains(t, object, at, "the example lacks %s", f.path)
				variants := variantsOf(t, f.schema, object[at])
				for _, v := range variants {
					d := document(t, name)
					object, at := f.in(d)
					object[at] = v.value
					agree(t, name, compiled, d, v.ok, f.path+" is "+v.how)
				}
				d := document(t, name)
				object, at = f.in(d)
				delete(object, at)
				agree(t, name, compiled, d, !f.required, f.path+" is missing")
				d = document(t, name)
				object, _ = f.in(d)
				object["unknown"] = 1
				agree(t, name, compiled, d, false, "there is an unknown field beside "+f.path)
			}
		})
	}
}

// Each field of the Go type is one of the schema, and the other way round; those that may be left out are the same.
func TestTheGoTypeHasTheFieldsOfItsSchema(t *testing.T) {
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			inSchema := map[string]bool{}
			for _, f := range fieldsIn("", schemaFile(t, name), func(d map[string]any) map[string]any { return d }) {
				inSchema[f.path] = f.required
			}
			inGo := map[string]bool{"eventType": true, "version": true} // they come from methods
			fieldsOfType("", reflect.TypeOf(sample), inGo)
			assert.Equal(t, inSchema, inGo)
		})
	}
}

// fieldsOfType finds the JSON fields of a struct, and whether each is always written.
func fieldsOfType(prefix string, of reflect.Type, found map[string]bool) {
	for _, f := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		found[prefix+name] = options != "omitempty"
		inner := f.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			fieldsOfType(prefix+name+".", inner, found)
		}
	}
}

// Each contract has its schema. The others are the command's, and those of versions that are retired: events that name them
// are archived somewhere.
func TestEachSchemaBelongsToAContract(t *testing.T) {
	oldest := map[string]int{}
	for _, c := range slices.Backward(events.Contracts()) {
		oldest[c.Type] = c.Version
		schema := schemaFileOf(t, c.File)
		assert.Equal(t, c.URI, schema["$id"])
		properties := schema["properties"].(map[string]any)
		assert.Equal(t, map[string]any{"const": c.Type}, properties["eventType"], c.File)
		assert.Equal(t, map[string]any{"const": float64(c.Version)}, properties["version"], c.File)
	}
	for _, file := range schemaFiles(t) {
		schema := schemaFileOf(t, file)
		version, isFact := schema["properties"].(map[string]any)["version"].(map[string]any)
		if !isFact {
			assert.Equal(t, fileOf(events.OrderCreateType), file)
			continue
		}
		eventType, number := versioned.FindStringSubmatch(file)[1], int(version["const"].(float64))
		if number < oldest[eventType] {
			continue // retired
		}
		assert.True(t, slices.ContainsFunc(events.Contracts(), func(c events.Contract) bool { return c.File == file }),
			"%s has no Go type: add it to facts, or remove the file", file)
	}
}
