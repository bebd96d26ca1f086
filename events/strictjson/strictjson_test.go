package strictjson_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events/strictjson"
)

func parse(t *testing.T, document string) *strictjson.Object {
	t.Helper()
	o, err := strictjson.Parse([]byte(document))
	require.NoError(t, err)
	return o
}

func TestParseRefusesWhatIsNotOneObject(t *testing.T) {
	tests := map[string]struct {
		document string
		want     string // part of the expected violations
	}{
		"nothing":              {"", "not valid JSON"},
		"white space":          {" \n", "not valid JSON"},
		"broken syntax":        {`{"a":1,}`, "not valid JSON"},
		"a comment":            {`{"a":1} // one`, "not valid JSON"},
		"trailing data":        {`{"a":1}{"a":1}`, "not valid JSON"},
		"a leading zero":       {`{"a":01}`, "not valid JSON"},
		"a byte order mark":    {"\ufeff{}", "not valid JSON"},
		"broken UTF-8":         {"{\"a\":\"\xc3\"}", "not valid UTF-8"},
		"a number":             {"1", "must be a JSON object"},
		"null":                 {"null", "must be a JSON object"},
		"an array":             {`[{"a":1}]`, "must be a JSON object"},
		"half a surrogate":     {`{"a":"\ud800"}`, "a holds half of a surrogate pair"},
		"surrogate and letter": {`{"a":"\ud83dx"}`, "a holds half of a surrogate pair"},
		"two first surrogates": {`{"a":"\ud83d\ud83d"}`, "a holds half of a surrogate pair"},
		"a field twice":        {`{"a":1,"b":2,"a":1}`, "a appears twice"},
		"twice by an escape":   {`{"a":1,"\u0061":1}`, "a appears twice"},
		"twice deep inside":    {`{"a":[{},{"b":{"c":1,"c":2}}]}`, "a[1].b.c appears twice"},
		"17 levels":            {strings.Repeat(`{"a":`, 16) + `{}` + strings.Repeat(`}`, 16), "nested deeper than 16"},
		"a million brackets":   {`{"a":` + strings.Repeat("[", 1e6), "not valid JSON"},
		"9,000 levels":         {`{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, "nested deeper than 16"},
		"too many values":      {`{"a":[0` + strings.Repeat(",0", 2047) + `]}`, "more than 2048 values"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := strictjson.Parse([]byte(test.document))
			assert.ErrorContains(t, err, test.want)
			assert.ErrorAs(t, err, new(strictjson.Violations))
		})
	}
}

func TestReadsEachKindOfField(t *testing.T) {
	o := parse(t, ` { "s" : "a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00" , "i":-9223372036854775808, "e":"" ,
		"o":{"i":1}, "l":[ {"i":2} , {"i":3} ], "none":[] } `)
	assert.Equal(t, "a\"\\/\b\f\n\r\té😀", o.String("s"))
	assert.EqualValues(t, -1<<63, o.Int("i"))
	assert.Empty(t, o.String("e"), "an empty string is not a missing one")
	assert.Empty(t, o.OptionalString("absent"))
	assert.EqualValues(t, 1, o.Object("o").Int("i"))
	list := o.Objects("l")
	require.Len(t, list, 2)
	assert.EqualValues(t, 2, list[0].Int("i"))
	assert.EqualValues(t, 3, list[1].Int("i"))
	assert.Empty(t, o.Objects("none"))
	assert.Empty(t, o.OptionalObjects("absent"))
	assert.NoError(t, o.Done())
}

func TestIntTakesIntegersInAnyNotation(t *testing.T) {
	for literal, want := range map[string]int64{
		"1299": 1299, "1299.0": 1299, "1.299e3": 1299, "12990E-1": 1299, "-5.000": -5, "-0": 0, "0.0e99": 0, "0e-99": 0,
		"9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63, "9223372036854775807.0": 1<<63 - 1,
	} {
		o := parse(t, `{"n":`+literal+`}`)
		assert.Equal(t, want, o.Int("n"), literal)
		assert.NoError(t, o.Done(), literal)
	}
	for _, literal := range []string{
		"12.99", "1e-1", "0.5", `"1299"`, "true", "null", "{}", "[1]", "9223372036854775808", "1e19", "-1e19",
		"1e999", "1e-999", "1e999999999", "1e-999999999", "1." + strings.Repeat("0", 100), strings.Repeat("9", 1000),
	} {
		o := parse(t, `{"n":`+literal+`}`)
		assert.Zero(t, o.Int("n"), literal)
		assert.Error(t, o.Done(), literal)
	}
}

func TestDoneNamesEveryViolationWithItsPath(t *testing.T) {
	o := parse(t, `{"S":"x","null":null,"optional":null,"number":"1","text":1,"object":[],
		"list":[{"n":"x","extra":{"unread":1}},5],"lists":{}}`)
	o.String("s")
	o.String("null")
	o.OptionalString("optional")
	o.Int("number")
	o.String("text")
	o.Object("object").Int("inside")
	for _, entry := range o.Objects("list") {
		entry.Int("n")
	}
	o.OptionalObjects("lists")
	o.Fail("list[0].n", "is judged once only")
	assert.Equal(t, strictjson.Violations{
		{Field: "s", Detail: "is required"},
		{Field: "null", Detail: "is required"},
		{Field: "optional", Detail: "must be a string"},
		{Field: "number", Detail: "must be an integer"},
		{Field: "text", Detail: "must be a string"},
		{Field: "object", Detail: "must be an object"},
		{Field: "list[1]", Detail: "must be an object"},
		{Field: "list[0].n", Detail: "must be an integer"},
		{Field: "lists", Detail: "must be an array of objects"},
		{Field: "S", Detail: "is an unknown field"},
		{Field: "list[0].extra", Detail: "is an unknown field"},
	}, o.Done())
}

func TestFailJoinsThePathOfItsObject(t *testing.T) {
	o := parse(t, `{"list":[{"a":{}}]}`)
	a := o.Objects("list")[0].Object("a")
	a.Fail("b", "is bad")
	a.Fail("", "is worse")
	o.Fail("", "is lost")
	assert.EqualError(t, o.Done(), "list[0].a.b is bad; list[0].a is worse; the document is lost")
}

func TestViolationsStayFewAndShort(t *testing.T) {
	var document strings.Builder
	document.WriteString(`{"` + strings.Repeat("é", 1000) + `":1,"":2`)
	for i := range 1000 {
		fmt.Fprintf(&document, `,"field%d":1`, i)
	}
	document.WriteString("}")
	var violations strictjson.Violations
	require.ErrorAs(t, parse(t, document.String()).Done(), &violations)
	assert.Len(t, violations, 500)
	assert.Equal(t, strings.Repeat("é", 32)+"…", violations[0].Field)
	assert.Equal(t, `""`, violations[1].Field)
	assert.Equal(t, strictjson.Violation{Detail: "has more violations than are listed"}, violations[499])
}
