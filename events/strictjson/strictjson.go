// Package strictjson reads one JSON object strictly: it returns typed fields, or every violation at once.
//
// A reader names each field that it knows and calls Done at the end, which refuses all other fields. Names match exactly and
// case-sensitively, which encoding/json does not offer.
package strictjson

import (
	"math/big"
	"strconv"
	"strings"
)

// maxViolations bounds the list, so that a hostile document cannot cause an answer of many times its size. It holds three
// bad fields for each of 100 lines.
const maxViolations = 500

// Violation is one fault of a document.
type Violation struct {
	// Field is a path such as "items[0].quantity", or "" for the document itself.
	Field string `json:"field"`
	// Detail completes the sentence that Field begins: "must be an integer".
	Detail string `json:"detail"`
}

// Violations has all faults of a document, as an error.
type Violations []Violation

// Error joins the violations into one line.
func (v Violations) Error() string {
	var b strings.Builder
	for i, violation := range v {
		if i > 0 {
			b.WriteString("; ")
		}
		if violation.Field == "" {
			b.WriteString("the document")
		} else {
			b.WriteString(violation.Field)
		}
		b.WriteByte(' ')
		b.WriteString(violation.Detail)
	}
	return b.String()
}

// Object is a JSON object whose fields are read by name. All objects of one
// document share one list of violations.
type Object struct {
	doc     *document
	path    string
	members []member
}

type member struct {
	name  string
	value value
	read  bool
}

type document struct {
	violations Violations
	opened     []*Object
}

// String returns a required string. If it is missing, null or of another type, it adds a violation and returns "".
func (o *Object) String(name string) string {
	v, ok := o.required(name)
	if !ok {
		return ""
	}
	return o.text(name, v)
}

// OptionalString returns "" if the field is absent. It refuses null: an optional field is left out, never null.
func (o *Object) OptionalString(name string) string {
	v, ok := o.find(name)
	if !ok {
		return ""
	}
	return o.text(name, v)
}

// Int returns a required integer within int64, in any notation: 1299, 1299.0 and 1.299e3 are the same in JSON Schema, and to
// many JSON writers. It refuses 12.99 and "1299".
func (o *Object) Int(name string) int64 {
	v, ok := o.required(name)
	if !ok {
		return 0
	}
	return o.integer(name, v)
}

// OptionalInt is Int for a field that may be absent; given is whether it is there. It refuses null.
func (o *Object) OptionalInt(name string) (n int64, given bool) {
	v, ok := o.find(name)
	if !ok {
		return 0, false
	}
	return o.integer(name, v), true
}

func (o *Object) integer(name string, v value) int64 {
	if v.kind != number {
		o.Fail(name, "must be an integer")
		return 0
	}
	n, detail := integer(v.text)
	if detail != "" {
		o.Fail(name, detail)
	}
	return n
}

// maxNumber and maxExponent bound the literal of a number, in bytes, since the cost of evaluating it grows with its
// exponent.
const (
	maxNumber   = 64
	maxExponent = 4
)

// integer reads the literal of a number; detail says why it is not an integer.
func integer(literal string) (n int64, detail string) {
	if n, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return n, ""
	}
	_, exponent, _ := strings.Cut(strings.ToLower(literal), "e")
	if len(literal) > maxNumber || len(exponent) > maxExponent {
		return 0, "is out of range"
	}
	exact, _ := new(big.Rat).SetString(literal) // JSON's syntax is a subset of the one of Rat
	switch {
	case !exact.IsInt():
		return 0, "must be an integer"
	case !exact.Num().IsInt64():
		return 0, "is out of range"
	default:
		return exact.Num().Int64(), ""
	}
}

// Object returns a required object, or an empty one if there is none, so that a reader needs no branch: the fields missing
// inside are not reported again.
func (o *Object) Object(name string) *Object {
	v, ok := o.required(name)
	if ok && v.kind == object {
		return o.open(v.object)
	}
	o.Fail(name, "must be an object")
	return &Object{doc: o.doc, path: join(o.path, name)}
}

// Objects returns a required array of objects, one entry per element; an element of another type is a violation and becomes
// an empty object.
func (o *Object) Objects(name string) []*Object {
	v, ok := o.required(name)
	if !ok {
		return nil
	}
	return o.objects(name, v)
}

// OptionalObjects is Objects for a field that may be absent. It refuses null.
func (o *Object) OptionalObjects(name string) []*Object {
	v, ok := o.find(name)
	if !ok {
		return nil
	}
	return o.objects(name, v)
}

// Fail adds a violation of the field name of this object, or of the object itself if name is "". On the root it accepts a
// whole path. Only the first violation of a field counts, and it hides those inside the field.
func (o *Object) Fail(name, detail string) {
	o.doc.add(join(o.path, name), detail)
}

// Done refuses every field that was not read, in the root and in each object that was returned, and returns all Violations,
// or nil. Call it once, on the root.
func (o *Object) Done() error {
	for _, opened := range o.doc.opened {
		for _, m := range opened.members {
			if !m.read {
				opened.Fail(clip(m.name), "is an unknown field")
			}
		}
	}
	if len(o.doc.violations) == 0 {
		return nil
	}
	return o.doc.violations
}

func (o *Object) find(name string) (value, bool) {
	for i := range o.members {
		if o.members[i].name == name {
			o.members[i].read = true
			return o.members[i].value, true
		}
	}
	return value{}, false
}

func (o *Object) required(name string) (value, bool) {
	v, ok := o.find(name)
	if !ok || v.kind == null {
		o.Fail(name, "is required")
		return value{}, false
	}
	return v, true
}

func (o *Object) text(name string, v value) string {
	if v.kind != text {
		o.Fail(name, "must be a string")
		return ""
	}
	return v.text
}

func (o *Object) objects(name string, v value) []*Object {
	if v.kind != array {
		o.Fail(name, "must be an array of objects")
		return nil
	}
	list := make([]*Object, len(*v.array))
	for i, element := range *v.array {
		if element.kind == object {
			list[i] = o.open(element.object)
			continue
		}
		path := name + "[" + strconv.Itoa(i) + "]"
		o.Fail(path, "must be an object")
		list[i] = &Object{doc: o.doc, path: join(o.path, path)}
	}
	return list
}

func (o *Object) open(child *Object) *Object {
	o.doc.opened = append(o.doc.opened, child)
	return child
}

func (d *document) add(field, detail string) {
	if len(d.violations) == maxViolations {
		return
	}
	for _, v := range d.violations {
		if covers(v.Field, field) {
			return
		}
	}
	if len(d.violations) == maxViolations-1 {
		field, detail = "", "has more violations than are listed"
	}
	d.violations = append(d.violations, Violation{Field: field, Detail: detail})
}

// covers returns whether inner is outer or lies inside it.
func covers(outer, inner string) bool {
	if !strings.HasPrefix(inner, outer) {
		return false
	}
	rest := inner[len(outer):]
	return rest == "" || outer != "" && (rest[0] == '.' || rest[0] == '[')
}

func join(path, name string) string {
	switch {
	case path == "":
		return name
	case name == "":
		return path
	default:
		return path + "." + name
	}
}
