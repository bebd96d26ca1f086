// Package oneline makes text that anybody may have written fit to be stored in a column and shown on a terminal.
package oneline

import (
	"strings"
	"unicode"
)

// Of returns at most n bytes of text, whole characters only, with a space for each that does not print: no line breaks,
// and nothing that would steer a terminal.
func Of(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return strings.ToValidUTF8(text[:min(len(text), n)], "")
}
