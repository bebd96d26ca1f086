package avro

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/avro"
)

// parse returns the fields of JSON data without eventType, and the version in it.
func parse(eventType string, data []byte) (fields map[string]any, version int64, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return nil, 0, fmt.Errorf("the data is no JSON object: %w", err)
	}
	if decoder.More() {
		return nil, 0, errors.New("something follows the JSON object")
	}
	if fields["eventType"] != eventType {
		return nil, 0, fmt.Errorf("eventType is %v", fields["eventType"])
	}
	delete(fields, "eventType")
	number, _ := fields[versionField].(json.Number)
	if version, err = strconv.ParseInt(number.String(), 10, 64); err != nil {
		return nil, 0, fmt.Errorf("version is %v", fields[versionField])
	}
	return fields, version, nil
}

// complete makes of the fields of JSON what the schema is about: moments of texts, and empty lists of those that JSON leaves
// out. It refuses a field that the schema does not have.
func (s Schema) complete(fields map[string]any) error { return complete(s.root, fields) }

func complete(record *avro.SchemaNode, fields map[string]any) error {
	known := 0
	for i := range record.Fields {
		field := &record.Fields[i]
		value, there := fields[field.Name]
		if !there {
			if leftOut(field) {
				fields[field.Name] = []any{}
				known++
			}
			continue // without a default the encoder names it
		}
		known++
		switch {
		case field.Type.LogicalType == "timestamp-micros":
			text, _ := value.(string)
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return fmt.Errorf("%s: %w", field.Name, err)
			}
			fields[field.Name] = at
		case field.Type.Items != nil:
			entries, _ := value.([]any)
			for _, entry := range entries {
				if inner, ok := entry.(map[string]any); ok {
					if err := complete(field.Type.Items, inner); err != nil {
						return fmt.Errorf("%s: %w", field.Name, err)
					}
				}
			}
		}
	}
	if known < len(fields) {
		return fmt.Errorf("%w: %s has %d of the %d fields", ErrUnknownField, record.Name, known, len(fields))
	}
	return nil
}

// leftOut returns whether JSON has no empty list in this field, but leaves it out.
func leftOut(field *avro.SchemaField) bool { return field.Type.Items != nil && field.HasDefault }

// appendObject appends the members of an object, in the order of the schema and with the closing brace. The text is that of
// encoding/json, so that an event of this program comes out as it went in.
func appendObject(text []byte, record *avro.SchemaNode, value any) ([]byte, error) {
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is %T", record.Name, value)
	}
	for i := range record.Fields {
		field := &record.Fields[i]
		inner := fields[field.Name]
		entries, isList := inner.([]any)
		if isList && len(entries) == 0 && leftOut(field) {
			continue
		}
		if text[len(text)-1] != '{' {
			text = append(text, ',')
		}
		text = append(text, '"')
		text = append(text, field.Name...)
		text = append(text, '"', ':')
		var err error
		switch inner := inner.(type) {
		case int64:
			text = strconv.AppendInt(text, inner, 10)
		case []any:
			text, err = appendList(text, field.Type.Items, entries)
		case string:
			if !utf8.ValidString(inner) {
				return nil, fmt.Errorf("%s is not UTF-8", field.Name)
			}
			text, err = appendJSON(text, inner)
		case time.Time:
			text, err = appendJSON(text, inner.UTC())
		default:
			text, err = appendJSON(text, inner)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field.Name, err)
		}
	}
	return append(text, '}'), nil
}

func appendList(text []byte, record *avro.SchemaNode, entries []any) (_ []byte, err error) {
	text = append(text, '[')
	for i, entry := range entries {
		if i > 0 {
			text = append(text, ',')
		}
		if text, err = appendObject(append(text, '{'), record, entry); err != nil {
			return nil, err
		}
	}
	return append(text, ']'), nil
}

func appendJSON(text []byte, value any) ([]byte, error) {
	encoded, err := json.Marshal(value)
	return append(text, encoded...), err
}
