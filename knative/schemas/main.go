// Command schemas writes the schemas in CustomResourceDefinitions as files for kubeconform: one for each version of a kind. They
// are as strict as an API server with the field validation Strict, and refuse a field that a kind does not have.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("give DIR and the files with the definitions: each schema becomes DIR/KIND_VERSION.json, in lower case")
	}
	for _, name := range args[1:] {
		definitions, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all, err := schemas(string(definitions))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for file, schema := range all {
			if err := os.WriteFile(filepath.Join(args[0], file), schema, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

type definition struct {
	Kind string
	Spec struct {
		Names    struct{ Kind string }
		Versions []struct {
			Name   string
			Schema struct{ OpenAPIV3Schema map[string]any }
		}
	}
}

// schemas returns the schemas in YAML documents by their file names. It fails if there is none.
func schemas(documents string) (map[string][]byte, error) {
	all := map[string][]byte{}
	for document := range strings.SplitSeq("\n"+documents, "\n---") {
		var d definition
		if err := yaml.Unmarshal([]byte(document), &d); err != nil {
			return nil, err
		}
		if d.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, version := range d.Spec.Versions {
			schema := version.Schema.OpenAPIV3Schema
			enclose(schema)
			properties, ok := schema["properties"].(map[string]any)
			if !ok {
				properties = map[string]any{}
				schema["properties"] = properties
			}
			// Every object has these, whatever its schema says.
			properties["apiVersion"], properties["kind"] = map[string]any{"type": "string"}, map[string]any{"type": "string"}
			properties["metadata"] = map[string]any{"type": "object"}
			encoded, err := json.Marshal(schema)
			if err != nil {
				return nil, err
			}
			all[strings.ToLower(d.Spec.Names.Kind+"_"+version.Name)+".json"] = encoded
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no schema of a CustomResourceDefinition")
	}
	return all, nil
}

// enclose changes a schema of OpenAPI into one of JSON Schema that takes no other fields than its own. It leaves allOf, anyOf, oneOf
// and not as they are: there Kubernetes admits conditions on fields, and no fields.
func enclose(schema map[string]any) {
	if schema["x-kubernetes-int-or-string"] == true {
		schema["type"] = []any{"integer", "string"}
	}
	properties, _ := schema["properties"].(map[string]any)
	for _, property := range properties {
		encloseAny(property)
	}
	encloseAny(schema["items"])
	encloseAny(schema["additionalProperties"])
	if schema["type"] == "object" && schema["additionalProperties"] == nil && schema["x-kubernetes-preserve-unknown-fields"] != true {
		schema["additionalProperties"] = false
	}
	if kind, ok := schema["type"].(string); ok && schema["nullable"] == true {
		schema["type"] = []any{kind, "null"}
	}
}

func encloseAny(schema any) {
	if s, ok := schema.(map[string]any); ok {
		enclose(s)
	}
}
