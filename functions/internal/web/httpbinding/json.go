package httpbinding

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events/strictjson"
)

// Structured reads an event in structured mode, in the JSON format.
func Structured(body []byte) (event.Event, error) {
	c, err := fromJSON(body)
	if err != nil {
		return event.Event{}, err
	}
	return c.event()
}

// fromJSON reads an event in the JSON format. The SDK's reader has faults: if data_base64 comes before specversion, it keeps
// the white space before the value, cuts off the first and last byte as quotes, and panics over a value of one digit; it
// accepts duplicate members, and replaces invalid UTF-8 by U+FFFD.
func fromJSON(body []byte) (content, error) {
	all, err := members(body)
	if err != nil {
		return content{}, err
	}
	data, plain := all["data"]
	encoded, inBase64 := all["data_base64"]
	delete(all, "data")
	delete(all, "data_base64")
	c := content{attributes: map[string]any{}, base64: inBase64}
	for name, member := range all {
		if !validName(name) {
			return content{}, fmt.Errorf("%q: the names of attributes are made of a to z and 0 to 9", name)
		}
		value, err := attributeOf(member)
		if err != nil {
			return content{}, fmt.Errorf("%s: %w", name, err)
		}
		if value != nil {
			c.attributes[name] = value
		}
	}
	switch {
	case plain && inBase64:
		return content{}, errors.New("send data or data_base64")
	case plain:
		contentType, _ := c.attributes["datacontenttype"].(string)
		c.data, err = dataOf(data, contentType)
	case inBase64:
		c.data, err = bytesOf(encoded)
	}
	return c, err
}

// members splits a JSON object.
func members(object []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(object) {
		return nil, errors.New("the body is not UTF-8")
	}
	if err := json.Unmarshal(object, new(json.RawMessage)); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(object))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return nil, errors.New("the body is not a JSON object")
	}
	all := map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		name, _ := token.(string)
		var value json.RawMessage
		if err == nil {
			err = decoder.Decode(&value)
		}
		if err != nil {
			return nil, fmt.Errorf("the body is not JSON: %w", err)
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("%q appears twice", name)
		}
		all[name] = value
	}
	return all, nil
}

// attributeOf returns the value of an attribute; null means absent.
func attributeOf(value json.RawMessage) (any, error) {
	switch value[0] {
	case '"':
		return textOf(value)
	case 'n':
		return nil, nil
	case 't', 'f':
		return value[0] == 't', nil
	default:
		n, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil {
			return nil, errors.New("must be a string, a boolean or an integer of 32 bits")
		}
		return int32(n), nil
	}
}

// textOf returns the text of a JSON string.
func textOf(value json.RawMessage) (string, error) {
	if value[0] != '"' {
		return "", errors.New("must be a string")
	}
	text, ok := strictjson.Unquote(string(value))
	if !ok {
		return "", errors.New("holds half of a surrogate pair, which is no character")
	}
	return text, nil
}

// dataOf returns the data in a JSON member: unchanged if the content type is JSON, which is the default, else the text of a
// string.
func dataOf(value json.RawMessage, contentType string) ([]byte, error) {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	if media = strings.TrimSpace(media); media == "" || strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json") {
		return value, nil
	}
	text, err := textOf(value)
	if err != nil {
		return nil, fmt.Errorf("data: %w, since the datacontenttype is %s", err, media)
	}
	return []byte(text), nil
}

func bytesOf(value json.RawMessage) ([]byte, error) {
	text, err := textOf(value)
	if err != nil {
		return nil, fmt.Errorf("data_base64: %w", err)
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("data_base64: is not base64")
	}
	return data, nil
}
