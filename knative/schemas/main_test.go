package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const definitions = `
# A comment, and no document.
---
apiVersion: v1
kind: Namespace
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  names: {kind: KafkaThing}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              oneOf:
                - properties: {replicas: {}}
                  required: [replicas]
                - properties: {class: {}}
                  required: [class]
              properties:
                class: {type: string}
                replicas: {type: integer, minimum: 1}
                config: {type: object, x-kubernetes-preserve-unknown-fields: true}
                labels: {type: object, additionalProperties: {type: string}}
                port: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
                note: {type: object, nullable: true, properties: {text: {type: string}}}
                empty: {type: object}
                list:
                  type: array
                  items: {type: object, properties: {name: {type: string}}}
                named:
                  type: object
                  additionalProperties: {type: object, properties: {name: {type: string}}}
`

func TestSchemasTakeWhatAnAPIServerTakes(t *testing.T) {
	tests := map[string]struct {
		object  string
		refused string
	}{
		"known fields":              {object: `spec: {class: a}`},
		"what each object has":      {object: `{apiVersion: a/v1, kind: b, metadata: {name: a, labels: {b: c}}, spec: {class: a}}`},
		"free fields":               {object: `spec: {class: a, config: {a.b: 1, c: {d: e}}}`},
		"labels":                    {object: `spec: {class: a, labels: {x: z}}`},
		"a number or a string":      {object: `spec: {class: a, port: 80}`},
		"a string or a number":      {object: `spec: {class: a, port: http}`},
		"null":                      {object: `spec: {class: a, note: null}`},
		"a field of a nullable one": {object: `spec: {class: a, note: {text: b}}`},
		"items":                     {object: `spec: {class: a, list: [{name: b}]}`},
		"no object":                 {`{}`, "missing property 'spec'"},
		"a wrong type":              {`spec: {class: 1}`, "at '/spec/class'"},
		"a wrong number":            {`spec: {replicas: 0}`, "at '/spec/replicas'"},
		"two of one":                {`spec: {class: a, replicas: 1}`, "oneOf"},
		"a list for a port":         {`spec: {class: a, port: []}`, "at '/spec/port'"},
		"null for a field":          {`spec: {class: null}`, "at '/spec/class'"},
		"an unknown field at root":  {`{spec: {class: a}, spek: {}}`, "'spek' not allowed"},
		"an unknown field":          {`spec: {class: a, klass: b}`, "'klass' not allowed"},
		"a number as a label":       {`spec: {class: a, labels: {x: 1}}`, "at '/spec/labels/x'"},
		"an unknown field, deeper":  {`spec: {class: a, note: {test: b}}`, "'test' not allowed"},
		"a field of an empty one":   {`spec: {class: a, empty: {b: c}}`, "'b' not allowed"},
		"an unknown field of items": {`spec: {class: a, list: [{nam: b}]}`, "'nam' not allowed"},
		"an unknown field of a map": {`spec: {class: a, named: {x: {nam: b}}}`, "'nam' not allowed"},
	}
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "definitions.yaml")
	require.NoError(t, os.WriteFile(file, []byte(definitions), 0o600))
	require.NoError(t, run([]string{dir, file}))
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(dir, "kafkathing_v1.json"))
	require.NoError(t, err)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var object any
			require.NoError(t, yaml.Unmarshal([]byte(test.object), &object))
			err := schema.Validate(object)
			if test.refused == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.refused)
		})
	}
}

func TestASchemaWithoutFieldsTakesWhatItAdmits(t *testing.T) {
	all, err := schemas(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  names: {kind: Free}
  versions:
    - {name: v1, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
    - {name: v2, schema: {openAPIV3Schema: {type: object}}}
`)
	require.NoError(t, err)
	assert.NotContains(t, string(all["free_v1.json"]), `"additionalProperties"`)
	assert.Contains(t, string(all["free_v2.json"]), `"additionalProperties":false`)
}

func TestSchemasOfNothingFail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "namespace.yaml")
	require.NoError(t, os.WriteFile(file, []byte("apiVersion: v1\nkind: Namespace\n"), 0o600))
	require.EqualError(t, run([]string{t.TempDir(), file}), file+": no schema of a CustomResourceDefinition")
	require.ErrorContains(t, run([]string{t.TempDir()}), "give DIR")
	require.Error(t, run([]string{t.TempDir(), file + ".missing"}))
}
