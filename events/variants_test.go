package events_test

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

// variant is a value of a field, at a bound of its schema or just beyond it.
type variant struct {
	how   string
	value any
	ok    bool
}

// known are the keywords that variantsOf makes values for, or that need none.
var known = map[string]bool{
	"$schema": true, "$id": true, "title": true, "description": true,
	"type": true, "properties": true, "required": true, "additionalProperties": true, "items": true, "const": true, "enum": true,
	"pattern": true, "maxLength": true, "format": true, "minimum": true, "maximum": true, "minItems": true, "maxItems": true,
}

// variantsOf makes the values at each bound of a field and beyond it. sample is a value within bounds.
func variantsOf(t *testing.T, schema map[string]any, sample any) []variant {
	t.Helper()
	for keyword := range schema {
		require.True(t, known[keyword], "no variants are made for %s", keyword)
	}
	wrong := []variant{{"null", nil, false}, {"a truth value", true, false}}
	if value, ok := schema["const"]; ok {
		return append(wrong, variant{"another constant", fmt.Sprint(value) + "x", false}, variant{"another number", 99, false})
	}
	if values, ok := schema["enum"].([]any); ok {
		for _, value := range values {
			wrong = append(wrong, variant{"one of the list", value, true}, variant{"none of the list", fmt.Sprint(value) + "x", false})
		}
		return wrong
	}
	switch schema["type"] {
	case "integer":
		least, most := int64(schema["minimum"].(float64)), int64(schema["maximum"].(float64))
		return append(wrong, variant{"the least", least, true}, variant{"one less", least - 1, false},
			variant{"the most", most, true}, variant{"one more", most + 1, false}, variant{"a fraction", float64(least) + .5, false}, variant{"text", "1", false})
	case "array":
		return append(wrong, lists(schema, sample.([]any))...)
	case "string":
		wrong = append(wrong, variant{"a number", 1, false})
		if schema["format"] == "date-time" {
			return append(wrong, times()...)
		}
		return append(wrong, texts(t, schema)...)
	case "object":
		return append(wrong, variant{"a list", []any{}, false})
	default:
		require.Fail(t, "no variants are made for a type", "%v", schema["type"])
		return nil
	}
}

// lists repeats the first entry of a sample, each time with another SKU: most lists have one entry per SKU.
func lists(schema map[string]any, sample []any) []variant {
	of := func(n int) []any {
		list := make([]any, n)
		for i := range list {
			entry := map[string]any{}
			for name, value := range sample[0].(map[string]any) {
				entry[name] = value
			}
			entry["sku"] = fmt.Sprintf("SKU-%d", i)
			list[i] = entry
		}
		return list
	}
	most := int(schema["maxItems"].(float64))
	all := []variant{{"the most entries", of(most), true}, {"one entry more", of(most + 1), false}, {"an entry that is a number", []any{1}, false}}
	if least, ok := schema["minItems"].(float64); ok {
		return append(all, variant{"the least entries", of(int(least)), true}, variant{"one entry less", of(int(least) - 1), false})
	}
	return append(all, variant{"no entries", of(0), true})
}

func times() []variant {
	all := []variant{
		{"a date", "2025-08-12", false}, {"a time without a zone", "2025-08-12T10:23:01", false}, {"no month", "2025-13-12T10:23:01Z", false},
		{"no day", "2025-02-30T10:23:01Z", false}, {"nothing", "", false}, {"another zone", "2025-08-12T10:23:01.5+09:00", true},
	}
	for _, at := range []time.Time{time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)} {
		all = append(all, variant{"a bound", at.UTC().Format(time.RFC3339Nano), true})
	}
	return all
}

// texts makes the shortest and the longest text that a pattern matches, and with each letter at the edges of its class, and
// such as it just does not match.
func texts(t *testing.T, schema map[string]any) []variant {
	t.Helper()
	pattern := schema["pattern"].(string)
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	require.NoError(t, err)
	require.Equal(t, syntax.OpConcat, parsed.Op, pattern)
	matches, most := regexp.MustCompile(pattern), math.MaxInt
	if longest, ok := schema["maxLength"].(float64); ok {
		most = int(longest)
	}
	var all []variant
	add := func(how, text string) {
		all = append(all, variant{how + ": " + text[:min(len(text), 80)], text, matches.MatchString(text) && len(text) <= most})
	}
	shortest := strings.Join(shortestParts(parsed.Sub), "")
	add("the shortest", shortest)
	for n, part := range parsed.Sub {
		with := func(how, replacement string) {
			parts := shortestParts(parsed.Sub)
			parts[n] = replacement
			add(how, strings.Join(parts, ""))
		}
		class, rest := part, ""
		if part.Op == syntax.OpRepeat || part.Op == syntax.OpPlus {
			class = part.Sub[0]
		}
		if part.Op == syntax.OpRepeat {
			rest = strings.Repeat(letterOf(class), max(part.Min-1, 0))
			with("the most", strings.Repeat(letterOf(class), part.Max))
			with("one more", strings.Repeat(letterOf(class), part.Max+1))
			with("one less", rest)
		}
		if part.Op == syntax.OpPlus {
			with("none", "")
			if most < math.MaxInt {
				with("the most", strings.Repeat(letterOf(class), most-len(shortest)+1))
				with("one more", strings.Repeat(letterOf(class), most-len(shortest)+2))
			}
		}
		for _, edge := range edges(class) {
			with("an edge", string(edge)+rest)
		}
	}
	return all
}

// shortestParts has the shortest text of each part of a pattern.
func shortestParts(parts []*syntax.Regexp) []string {
	all := make([]string, len(parts))
	for n, part := range parts {
		all[n] = letterOf(part)
		if part.Op == syntax.OpRepeat {
			all[n] = strings.Repeat(letterOf(part.Sub[0]), part.Min)
		}
		if part.Op == syntax.OpPlus {
			all[n] = letterOf(part.Sub[0])
		}
	}
	return all
}

// letterOf is a letter that a class matches, or the text of a literal; empty for the ends of a text.
func letterOf(part *syntax.Regexp) string {
	if part.Op == syntax.OpLiteral {
		return string(part.Rune)
	}
	for r := 'z'; part.Op == syntax.OpCharClass && r > ' '; r-- {
		if within(part.Rune, r) {
			return string(r)
		}
	}
	return ""
}

func within(ranges []rune, r rune) bool {
	for i := 0; i < len(ranges); i += 2 {
		if ranges[i] <= r && r <= ranges[i+1] {
			return true
		}
	}
	return false
}

// edges has the first and the last letter of each range of a class, and their neighbours outside. Of a class of all letters
// but a few it has the few: what else is refused is a rule of its own.
func edges(class *syntax.Regexp) (all []rune) {
	if class.Op != syntax.OpCharClass {
		return nil
	}
	negated := class.Rune[len(class.Rune)-1] > unicode.MaxASCII
	for i, r := range class.Rune {
		outside := r + 1 - 2*rune(1-i%2)
		if !negated {
			all = append(all, r)
		}
		if outside > 0 && outside <= unicode.MaxASCII && !within(class.Rune, outside) {
			all = append(all, outside)
		}
	}
	return all
}
