package httpbinding

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
)

// prefix begins the headers that are attributes. Header names are case-insensitive.
const prefix = "ce-"

// fromHeaders returns the attributes of an event in binary mode. Attribute headers are checked in both modes.
func fromHeaders(header http.Header) (map[string]any, error) {
	attributes := map[string]any{}
	for name, values := range header {
		attribute, ours := strings.CutPrefix(strings.ToLower(name), prefix)
		if !ours {
			continue
		}
		_, twice := attributes[attribute]
		switch {
		case attribute == "":
			return nil, errors.New("the header ce- names no attribute")
		case attribute == "datacontenttype":
			return nil, errors.New("send datacontenttype as the Content-Type")
		case !validName(attribute):
			return nil, fmt.Errorf("the header %q: the names of attributes are made of a to z and 0 to 9", name)
		case twice, len(values) != 1:
			return nil, fmt.Errorf("send the header ce-%s once", attribute)
		}
		attributes[attribute] = decode(values[0])
	}
	switch contentTypes := header.Values("Content-Type"); len(contentTypes) {
	case 0:
	case 1:
		attributes["datacontenttype"] = contentTypes[0]
	default:
		return nil, errors.New("send one Content-Type")
	}
	return attributes, nil
}

// decode decodes a header value: a quoted string, as in older versions of the binding, and then one round of
// percent-encoding. A quote or a percent sign that begins neither stays as it is, since Knative's KafkaSource encodes
// nothing.
func decode(value string) string {
	value = unquote(value)
	var text strings.Builder
	for i := 0; i < len(value); i++ {
		if c, ok := unhex(value[i:]); ok {
			text.WriteByte(c)
			i += 2
		} else {
			text.WriteByte(value[i])
		}
	}
	return text.String()
}

// unhex reads a percent-encoded byte at the start of s.
func unhex(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	high, low := strings.IndexByte(digits, upper(s[1])), strings.IndexByte(digits, upper(s[2]))
	return byte(high<<4 | low), high >= 0 && low >= 0
}

const digits = "0123456789ABCDEF"

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// unquote decodes a quoted string of RFC 7230, 3.2.6; other values stay as they are.
func unquote(value string) string {
	inner, begins := strings.CutPrefix(value, `"`)
	inner, ends := strings.CutSuffix(inner, `"`)
	if !begins || !ends {
		return value
	}
	var text strings.Builder
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '"':
			return value
		case '\\':
			if i++; i == len(inner) {
				return value
			}
		}
		text.WriteByte(inner[i])
	}
	return text.String()
}

// encode percent-encodes the characters that a header value may not have, or that would be read as an encoding.
func encode(text string) string {
	var value strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			value.Write([]byte{'%', digits[c>>4], digits[c&0xF]})
		} else {
			value.WriteByte(c)
		}
	}
	return value.String()
}

// headerOf returns the header of an attribute.
func headerOf(attribute string) string { return textproto.CanonicalMIMEHeaderKey(prefix + attribute) }
