package knative

import (
	"fmt"
	"reflect"
	"strings"

	"sigs.k8s.io/yaml"
)

// strict decodes one document into the struct that to points to. It refuses unknown and duplicate fields, and fields in
// other letter case: the decoder would accept consumergroup for consumerGroup, and Kubernetes does not.
func strict(document []byte, to any) error {
	if err := yaml.UnmarshalStrict(document, to); err != nil {
		return err
	}
	var plain any
	if err := yaml.Unmarshal(document, &plain); err != nil {
		return err
	}
	return exact(plain, reflect.TypeOf(to))
}

// exact compares the fields of a decoded value with those of its type.
func exact(value any, into reflect.Type) error {
	for into.Kind() == reflect.Pointer {
		into = into.Elem()
	}
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			if err := exact(element, into.Elem()); err != nil {
				return err
			}
		}
	case map[string]any:
		if into.Kind() != reflect.Struct {
			return nil // the keys of labels and the like are free
		}
		fields := map[string]reflect.Type{}
		for _, field := range reflect.VisibleFields(into) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields[name] = field.Type
		}
		for name, inner := range value {
			if fields[name] == nil || name == "" {
				return fmt.Errorf("unknown field %q: check its letter case", name)
			}
			if err := exact(inner, fields[name]); err != nil {
				return err
			}
		}
	}
	return nil
}
