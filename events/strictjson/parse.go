package strictjson

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a document, far above the needs of an order with 100 lines (depth 3, about 400 values): hostile input must not
// cost more than its size.
const (
	maxDepth  = 16
	maxValues = 2048
	maxName   = 64
)

type kind byte

const (
	null kind = iota
	boolean
	number
	text
	object
	array
)

type value struct {
	kind   kind
	text   string // a decoded text, or the literal of a number
	object *Object
	array  *[]value // a pointer keeps the value small, which an object has for each of its members
}

// Parse reads data, which must be exactly one JSON object in valid UTF-8. Broken syntax, trailing data, another type, a
// depth over 16, more than 2,048 values and duplicate fields are Violations. Such a document is ambiguous, so its fields are
// not checked.
func Parse(data []byte) (*Object, error) {
	if !utf8.Valid(data) {
		return nil, refuse("is not valid UTF-8")
	}
	if !json.Valid(data) {
		// Valid does not say what is wrong; only refused documents pay for the second pass.
		err := json.Unmarshal(data, new(json.RawMessage))
		return nil, refuse("is not valid JSON: " + err.Error())
	}
	p := parser{source: string(data), doc: new(document)}
	root, ok := p.value(1)
	if ok && root.kind != object {
		return nil, refuse("must be a JSON object")
	}
	if len(p.doc.violations) > 0 {
		return nil, p.doc.violations
	}
	p.doc.opened = append(p.doc.opened, root.object)
	return root.object, nil
}

func refuse(detail string) Violations {
	return Violations{{Detail: detail}}
}

// parser walks a source whose syntax is valid, so it only looks for the end of each value. Its methods return false if the
// walk must stop, with the reason among the violations.
type parser struct {
	source string
	at     int
	path   []byte
	values int
	doc    *document
}

func (p *parser) value(depth int) (value, bool) {
	if p.values++; p.values > maxValues {
		p.doc.add("", "has more than "+strconv.Itoa(maxValues)+" values")
		return value{}, false
	}
	p.space()
	switch p.source[p.at] {
	case '{', '[':
		if depth > maxDepth {
			p.doc.add("", "is nested deeper than "+strconv.Itoa(maxDepth)+" levels")
			return value{}, false
		}
		if p.source[p.at] == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case '"':
		s, ok := p.text()
		return value{kind: text, text: s}, ok
	case 'n':
		p.at += len("null")
		return value{kind: null}, true
	case 't':
		p.at += len("true")
		return value{kind: boolean}, true
	case 'f':
		p.at += len("false")
		return value{kind: boolean}, true
	default:
		start := p.at
		for p.at < len(p.source) && strings.IndexByte("+-.0123456789eE", p.source[p.at]) >= 0 {
			p.at++
		}
		return value{kind: number, text: p.source[start:p.at]}, true
	}
}

// usualMembers returns how many members an object at a depth has in the documents of this project, for which the parser then
// allocates once.
func usualMembers(depth int) int {
	if depth == 1 {
		return 10
	}
	return 3
}

func (p *parser) object(depth int) (value, bool) {
	o := &Object{doc: p.doc, path: string(p.path), members: make([]member, 0, usualMembers(depth))}
	outer := len(p.path)
	for p.next('}') {
		name, ok := p.text()
		if !ok {
			return value{}, false
		}
		p.space()
		p.at++ // the colon
		if outer > 0 {
			p.path = append(p.path, '.')
		}
		p.path = append(p.path, clip(name)...)
		for i := range o.members {
			if o.members[i].name == name {
				p.doc.add(string(p.path), "appears twice")
			}
		}
		v, ok := p.value(depth + 1)
		if !ok {
			return value{}, false
		}
		o.members = append(o.members, member{name: name, value: v})
		p.path = p.path[:outer]
	}
	return value{kind: object, object: o}, true
}

func (p *parser) array(depth int) (value, bool) {
	var elements []value
	outer := len(p.path)
	for p.next(']') {
		p.path = append(p.path, '[')
		p.path = strconv.AppendInt(p.path, int64(len(elements)), 10)
		p.path = append(p.path, ']')
		v, ok := p.value(depth + 1)
		if !ok {
			return value{}, false
		}
		elements = append(elements, v)
		p.path = p.path[:outer]
	}
	return value{kind: array, array: &elements}, true
}

// next steps over the opening bracket or the comma to the next element, or over the end, and then returns false.
func (p *parser) next(end byte) bool {
	p.space()
	if p.source[p.at] == end {
		p.at++
		return false
	}
	p.at++ // the opening bracket or a comma
	p.space()
	if p.source[p.at] == end {
		p.at++
		return false
	}
	return true
}

func (p *parser) space() {
	for {
		switch p.source[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// text reads a string literal; one without escapes is a slice of the source, without a copy.
func (p *parser) text() (string, bool) {
	p.at++ // the opening quote
	start := p.at
	for escaped := false; ; p.at++ {
		switch p.source[p.at] {
		case '\\':
			escaped = true
			p.at++
		case '"':
			raw := p.source[start:p.at]
			p.at++
			if !escaped {
				return raw, true
			}
			s, ok := unescape(raw)
			if !ok {
				p.doc.add(string(p.path), "holds half of a surrogate pair, which is no character")
			}
			return s, ok
		}
	}
}

// Unquote returns the text of a valid string literal, and false for one with half of a surrogate pair.
func Unquote(literal string) (string, bool) {
	return unescape(literal[1 : len(literal)-1])
}

// unescape decodes the inside of a valid string literal. It refuses half of a surrogate pair, which encoding/json would turn
// into U+FFFD, so that two different documents would read the same.
func unescape(raw string) (string, bool) {
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				if !strings.HasPrefix(raw[i+1:], `\u`) {
					return "", false
				}
				r = utf16.DecodeRune(r, hex4(raw[i+3:]))
				i += 6
				if r == utf8.RuneError {
					return "", false
				}
			}
			b = utf8.AppendRune(b, r)
		default: // quote, backslash, slash
			b = append(b, raw[i])
		}
	}
	return string(b), true
}

// hex4 reads four hexadecimal digits, which the syntax guarantees.
func hex4(s string) rune {
	n, _ := strconv.ParseUint(s[:4], 16, 32)
	return rune(n)
}

// clip shortens a name from the document, so that a path stays short, and shows the empty name, since an empty path means
// the object itself.
func clip(name string) string {
	if name == "" {
		return `""`
	}
	if len(name) <= maxName {
		return name
	}
	end := maxName
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "…"
}
